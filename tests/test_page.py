"""The page of a watch (serving/page) in a real Chromium, at three widths, against a stand-in for the server."""

import shutil
import time
from datetime import datetime, timedelta
from itertools import pairwise
from urllib.parse import unquote

import pytest
from stand_in import HOSTILE, Server, Stand, drawn_clip

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("selenium")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(not (CHROMIUM and shutil.which("chromedriver")), reason="chromium or chromedriver is missing")
WIDTHS = (360, 768, 1440)
ALONE = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update disable-sync"


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.add_argument("--headless=new")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    for name in ALONE.split():
        options.add_argument(f"--{name}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def server():
    with Server(Stand()) as server:
        yield server


@pytest.fixture
def stand(server):
    """Four cameras, one of them alarming; three alarms, of which the oldest is acknowledged."""
    stand = server.stand = server.answers.stand = Stand()
    stand.add("door")
    stand.add("yard", state="down", text="connection refused; next try in 3.1 s")
    stand.add("hall", live=False, state="ended")
    stand.add("attic")
    stand.alarm("c0", ago=3600, acknowledged=time.time())
    stand.alarm("c2", ago=75.0)
    stand.cameras["c3"]["alarm"] = stand.alarm("c3", ago=5, lasts=None)["id"]
    return stand


class Page:
    """The page in the browser, and what it shows."""

    def __init__(self, driver, url):
        self.driver, self.url, self.errors = driver, url, []

    def open(self, width=1440, height=900, at="/", scheme="light", motion="no-preference"):
        size = dict(width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        media = [dict(name="prefers-color-scheme", value=scheme), dict(name="prefers-reduced-motion", value=motion)]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dict(features=media))
        self.driver.get("about:blank")  # another #day alone would load nothing
        self.driver.get(self.url + at)
        self.until(lambda: self.count(".card .word:not(:empty)"))

    def run(self, code, *values):
        return self.driver.execute_script(code, *values)

    def texts(self, css):
        value = "node.matches('input, textarea, option') ? node.value : node.textContent"
        return self.run(f"return [...document.querySelectorAll(arguments[0])].map(node => {value})", css)

    def text(self, css):
        return self.texts(css)[0]

    def count(self, css):
        return len(self.texts(css))

    def click(self, css):
        self.run("document.querySelector(arguments[0]).click()", css)

    def set(self, css, value):
        tell = "node.dispatchEvent(new Event('input')); node.dispatchEvent(new Event('change', {bubbles: true}))"
        self.run(f"const node = document.querySelector(arguments[0]); node.value = arguments[1]; {tell}", css, value)

    def keys(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def until(self, holds, seconds=30.0):
        """Wait until it holds, and return what it is."""
        end = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < end, (self.text("body")[-1500:], self.driver.get_log("browser"))
            time.sleep(0.03)
        return found

    def busy(self):
        """Seconds that the page's thread has worked, of the processor's time, since `Performance.enable`."""
        told = self.driver.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]
        return next(entry["value"] for entry in told if entry["name"] == "TaskDuration")

    def expect_errors(self, *words):
        self.errors += words


@pytest.fixture
def page(driver, server, stand):
    """Closed without an error in the browser's log that the test did not expect."""
    page = Page(driver, server.url)
    yield page
    assert not "".join(page.texts("#broken"))
    told = [entry["message"] for entry in driver.get_log("browser")]
    driver.get("about:blank")  # it asks nothing of the next test's stand
    assert not [message for message in told if not any(word in message for word in page.errors)]


def names(page):
    return page.texts("#cards .name")


def test_cards_say_each_state_by_word_and_shape_those_that_alarm_first(page, stand):
    stand.add("gate", state="behind", delay=12.34, dropped=7)
    stand.add("ramp", live=False, state="failed", text="no video stream in it")
    stand.add("dock", state="waiting")
    page.open()
    assert names(page) == ["attic", "ramp", "yard", "dock", "door", "gate", "hall"]
    page.until(lambda: page.count("#cards .word:not(:empty)") == 7)
    since = datetime.fromtimestamp(stand.cameras["c1"]["since"]).strftime("%H:%M")
    words = dict(zip(names(page), page.texts("#cards .word"), strict=True))
    assert words["yard"].startswith("down since") and words["yard"].endswith(since) and words["gate"] == "behind"
    assert [words[name] for name in ("attic", "ramp", "dock", "hall")] == ["live", "failed", "waiting", "ended"]
    shapes = page.run("return [...document.querySelectorAll('#cards use')].map(use => use.getAttribute('href'))")
    assert shapes == ["#live", "#failed", "#down", "#waiting", "#live", "#behind", "#ended"]
    assert page.count("#cards b.alarm:not([hidden])") == 1 and page.text("#cards .alarms .name") == "attic"
    assert page.texts("#cards .text")[1:3] == ["no video stream in it", "connection refused; next try in 3.1 s"]
    assert page.texts("#cards .aside")[5] == "12.3 s late, 7 dropped"
    assert page.text("#counts") == "1 with an alarm · 1 down · 1 failed · 1 behind · 2 live · 1 waiting · 1 ended"
    assert page.text("#cards .score") == f"{stand.cameras['c3']['score']:.2f}"
    lines = page.run("return [...document.querySelectorAll('#cards .line path')].map(path => path.getAttribute('d').length)")
    assert [length > 1000 for length in lines] == [True, False, True, False, True, True, True]
    page.until(lambda: page.count("#cards img:not([hidden])") == 5)


def test_scores_states_and_alarms_come_by_themselves_and_are_told(page, stand):
    page.open()
    assert page.driver.title == "(2) LSHMA watch" and page.text("#open-count") == "2 unacknowledged"
    before = page.run("return document.querySelector('#cards li:nth-child(3) path').getAttribute('d')")
    stand.change("c0", scores=[[time.time(), 0.9567]])
    page.until(lambda: page.texts("#cards .score")[2] == "0.96")
    page.until(lambda: page.run("return document.querySelector('#cards li:nth-child(3) path').getAttribute('d')") != before)
    alarm = stand.alarm("c0", lasts=None, score=0.9567)
    stand.change("c0", alarm=alarm["id"])
    page.until(lambda: names(page)[:2] == ["attic", "door"] and page.count("#list li") == 4)
    assert "lasts" in page.text("#list .facts") and page.text("#said").startswith("Alarm: door, ")
    assert page.driver.title == "(3) LSHMA watch" and page.run("return document.querySelector('#said').ariaLive") == "polite"
    icon = page.run("return document.querySelector('link[rel=icon]').getAttribute('href')")
    drawn = "const image = new Image(); image.src = arguments[0]; return image.decode().then(() => image.naturalWidth > 0)"
    assert ">3<" in unquote(icon) and page.run(drawn, icon)
    stand.change("c0", alarm=None, state="down", since=time.time(), text="timed out")
    stand.tell(alarm | {"end": alarm["start"] + 72, "clip": True})
    page.until(lambda: names(page)[:3] == ["attic", "door", "yard"] and "1 min 12 s" in page.text("#list .facts"))
    stand.tell(stand.alarms["a2"] | {"acknowledged": time.time()})  # by somebody else
    page.until(lambda: page.driver.title == "(2) LSHMA watch")


def test_long_snippets_do_not_break_the_line(page, stand):
    stand.snippet, scores = 8.0, [[time.time() - 8 * i, 0.5] for i in range(30, 0, -1)]
    stand.cameras["c0"]["scores"] = scores[:10] + scores[15:]
    page.open()
    page.until(lambda: page.run("return document.querySelectorAll('#cards path')[2].getAttribute('d')").count("M") == 2)


def test_cameras_come_and_go(page, stand):
    page.open()
    stand.add("new gate")
    del stand.cameras["c1"]
    stand.outbox.append(("list", {}))
    page.until(lambda: names(page) == ["attic", "door", "hall", "new gate"])
    assert page.texts("#asking option") == ["", "c3", "c0", "c2", "c4"]


def test_acknowledging_and_a_note_go_to_the_server_and_survive_a_reload(page, stand):
    from selenium.webdriver.common.keys import Keys

    page.open()
    page.click("#list li:nth-child(2) .acknowledge")
    page.until(lambda: page.texts("#list .acknowledge")[1] == "Acknowledged ✓")
    page.run("document.querySelector('#list li:nth-child(2) .note').focus()")
    page.keys('a <b>cat</b> & "dog"\'', Keys.ENTER)
    page.until(lambda: page.texts("#list .saved")[1] == "saved")
    assert stand.posted == [("a2", {"acknowledged": True}), ("a2", {"note": 'a <b>cat</b> & "dog"\''})]
    page.open()
    assert page.texts("#list .note")[1] == 'a <b>cat</b> & "dog"\'' and page.driver.title == "(1) LSHMA watch"
    assert page.texts("#list .acknowledge") == ["Acknowledge", "Acknowledged ✓", "Acknowledged ✓"]


def test_a_note_that_is_not_saved_says_so_and_is_kept(page, stand):
    from selenium.webdriver.common.keys import Keys

    page.open()
    page.expect_errors("409")
    stand.failing = "the database is locked"
    page.run("document.querySelector('#list .note').focus()")
    page.keys("who was it?", Keys.ENTER)
    page.until(lambda: page.text("#list .saved") == "not saved: the database is locked")
    stand.tell(stand.alarms["a3"] | {"score": 0.99})
    page.until(lambda: page.text("#list .score") == "0.99")
    assert page.text("#list .note") == "who was it?"
    stand.failing = None
    page.run("document.querySelector('#list .note').focus()")
    stand.tell(stand.alarms["a3"] | {"note": "the postman"})
    page.until(lambda: "meanwhile somebody else noted “the postman”" in page.text("#list .saved"))
    page.keys(Keys.ENTER)
    page.until(lambda: page.text("#list .saved") == "saved")
    assert stand.alarms["a3"]["note"] == "who was it?"


def test_cameras_are_filtered_by_name(page):
    page.open()
    page.set("#filter", "OO")
    assert names(page) == ["door"] and page.text("#matching") == "1 of 4"
    page.set("#filter", "nothing")
    assert names(page) == [] and page.text("#no-cards") == "No camera's name has this in it."
    page.set("#filter", "")
    assert len(names(page)) == 4


def test_alarms_are_filtered_by_camera_time_and_acknowledgement(page, stand):
    page.open()
    page.set("#asking [name=camera]", "c3")
    page.until(lambda: page.texts("#list .name") == ["attic"])
    stand.alarm("c0")
    stand.alarm("c3", score=0.91)
    page.until(lambda: page.texts("#list .name") == ["attic", "attic"])  # and not the one of c0
    page.click("#asking [type=reset]")
    page.until(lambda: page.count("#list li") == 5)
    page.click("#asking [name=open]")
    page.until(lambda: page.count("#list li") == 4 and not page.count("#list .done"))
    page.click("#list .acknowledge")  # it no longer fits
    page.until(lambda: page.count("#list li") == 3)
    page.click("#asking [name=open]")
    hour = (datetime.now() - timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M")
    page.set("#asking [name=until]", hour)
    page.until(lambda: page.texts("#list .name") == ["door"])
    page.set("#asking [name=since]", hour)
    page.until(lambda: page.text("#no-alarms") == "No alarm fits the filter.")


def test_older_alarms_come_on_demand(page, stand):
    for i in range(70):
        stand.alarm("c0", ago=100, tell=False, acknowledged=time.time() if i % 2 else None)
    page.open()
    assert page.count("#list li") == 50 and page.driver.title == "(37) LSHMA watch"
    page.click("#more")
    page.until(lambda: page.count("#list li") == 73 and page.run("return document.querySelector('#more').hidden"))
    assert page.run("return [...document.querySelectorAll('#list li')].map(li => li.alarm.number)") == [*range(73, 0, -1)]


def test_all_open_alarms_are_counted_however_many_there_are(page, stand):
    for _ in range(90):
        stand.alarm("c0", ago=100, tell=False)
    page.open()
    assert page.driver.title == "(92) LSHMA watch"
    stand.tell(stand.alarms["a5"] | {"acknowledged": time.time()})  # beyond the newest 50
    page.until(lambda: page.driver.title == "(91) LSHMA watch")
    stand.tell(stand.alarms["a5"] | {"note": "the postman"})
    page.until(lambda: page.run("return performance.getEntriesByName(location.origin + '/api/alarms?open=1').length") == 3)
    assert page.driver.title == "(91) LSHMA watch"


def test_a_list_that_grows_lets_go_of_the_oldest_until_they_are_asked_for(page, stand):
    page.open()
    stand.outbox.append(("alarms", [dict(stand.alarm("c0", tell=False)) for _ in range(230)]))
    page.until(lambda: page.count("#list li") == 200 and page.text("#said").startswith("230 new alarms; the newest: door"))
    page.click("#more")
    page.until(lambda: page.run("return document.querySelector('#list').lastElementChild.alarm.number") == 1)
    stand.alarm("c0")
    page.until(lambda: page.run("return document.querySelector('#list').firstElementChild.alarm.number") == 234)
    assert page.run("return document.querySelector('#list').lastElementChild.alarm.number") == 2


def test_a_day_shows_scores_threshold_alarms_and_when_it_was_down(page, stand):
    midnight = datetime.now().replace(hour=0, minute=0, second=0, microsecond=0)
    begin, day = midnight.timestamp(), midnight.date()
    alarm = stand.alarms["a1"] | {"wall_start": begin + 7200, "wall_peak": begin + 7230}
    span = {"from": begin, "until": begin + 86400, "step": 60, "scores": [[begin + 60 * i, 0.2] for i in range(60)]}
    span["scores"][30][1] = 0.95
    stand.spans["c0"] = span | {"alarms": [alarm], "down": [[begin + 3600, begin + 7200], [begin + 80000, None]]}
    page.open(at=f"/#day/c0/{day}")
    page.until(lambda: "highest" in page.text("#day .facts"))
    down = "down 01:00:00\u201302:00:00, 22:13:20\u2013now"
    assert page.text("#day .facts") == f"highest score 0.95 at 00:30:00 · 1 alarm · {down}"
    assert page.texts("#day .hours span") == [f"{hour:02}" for hour in range(25)]
    assert page.count("#day .down rect") == 2 and page.count("#day .marks path") == 1
    bars = page.run("return ['below', 'above'].map(name => document.querySelector(`#day path.${name}`).getAttribute('d'))")
    assert bars[0].count("M") > 40 and bars[1].count("M") == 1
    page.run("""const plot = document.querySelector('#day .plot'), { left, top } = plot.getBoundingClientRect();
        plot.dispatchEvent(new PointerEvent('pointermove', { clientX: left + 5, clientY: top + 5, bubbles: true }))""")
    shown = page.run("const { display, visibility } = getComputedStyle(document.querySelector('#day .pointer')); "
                     "return [display, visibility]")  # fmt: skip
    assert shown == ["inline", "visible"]
    page.run("document.querySelector('#day .marks path').dispatchEvent(new MouseEvent('click'))")
    page.until(lambda: page.run("return document.querySelector('#viewer').open"))
    page.click("#viewer form button")
    page.click("#day .before")
    page.until(lambda: page.run("return location.hash") == f"#day/c0/{day - timedelta(days=1)}")
    page.until(lambda: f"{day - timedelta(days=1):%A}" in page.text("#day .which"))
    page.click("#day form button")
    page.until(lambda: page.run("return [document.querySelector('#day').open, location.hash]") == [False, ""])


def test_of_a_file_the_whole_is_shown(page, stand):
    page.open()
    page.run("document.querySelector('#cards [data-state=ended] .name').click()")
    page.until(lambda: "1 alarm" in page.text("#day .facts"))
    assert page.text("#day .name") == "hall" and page.texts("#day .hours span")[-1] == "5:00"
    assert page.text("#day .moments").startswith("1:15 · 8.0 s · 0.97")


def test_the_keyboard_alone_is_enough(page, stand):
    from selenium.webdriver.common.keys import Keys

    page.open()
    page.keys("/", "yar")
    assert names(page) == ["yard"]
    page.keys(Keys.BACKSPACE * 3, Keys.TAB)
    active = "return [document.activeElement.className, document.activeElement.textContent]"
    assert page.run(active) == ["name", "attic"]
    page.keys("d")
    page.until(lambda: page.run("return document.querySelector('#day').open") and page.text("#day .name") == "attic")
    page.keys(Keys.ESCAPE)
    page.until(lambda: not page.count("dialog[open]"))
    page.keys("a", "j")  # nothing was in focus: the newest is now, and not acknowledged unseen
    assert page.run("return document.activeElement.closest('li').alarm.id") == "a2"
    assert not stand.posted
    outline = page.run("return getComputedStyle(document.activeElement).outline")
    assert "3px" in outline and "solid" in outline
    page.keys("k", Keys.ENTER)
    page.until(lambda: page.count("#viewer[open] img") == 1)  # it lasts: no clip yet
    page.keys("j", "a")
    page.until(lambda: stand.alarms["a2"]["acknowledged"])
    page.keys(Keys.ESCAPE)
    page.until(lambda: page.run("return document.activeElement.closest('li')?.alarm.id") == "a2")
    page.keys("n", "not", Keys.ESCAPE, "n", "mine", Keys.ENTER)
    page.until(lambda: stand.alarms["a2"]["note"] == "mine")
    assert [sent for _, sent in stand.posted] == [{"acknowledged": True}, {"note": "mine"}]
    page.keys("?")
    assert page.run("return document.querySelector('#help').open")
    page.keys("j", Keys.ESCAPE)
    page.until(lambda: not page.count("dialog[open]"))


def test_a_clip_plays_and_replaces_the_picture_when_it_comes(page, stand):
    pytest.importorskip("av")
    stand.clip = drawn_clip()
    page.open()
    page.click("#list .open")
    page.until(lambda: page.run("return document.querySelector('#viewer img')?.naturalWidth") == 640)
    stand.tell(stand.alarms["a3"] | {"clip": True, "end": stand.alarms["a3"]["start"] + 4})
    page.until(lambda: page.run("return document.querySelector('#viewer video')?.currentTime > 0.1"))
    page.open(motion="reduce")
    page.click("#list li:nth-child(2) .open")
    page.until(lambda: page.run("return document.querySelector('#viewer video').readyState >= 3"))
    assert page.run("return document.querySelector('#viewer video').paused")


@pytest.mark.parametrize("width", WIDTHS)
def test_hostile_names_are_text_and_nothing_is_wider_than_the_screen(page, stand, width):
    stand.add(HOSTILE, text=HOSTILE, state="down", alarm="x")
    stand.alarm("c4", ago=1, note=HOSTILE)
    page.open(width, 740)
    assert names(page)[:2] == [HOSTILE, "attic"] and page.text("#list .name") == HOSTILE and page.text("#list .note") == HOSTILE
    wider = "node => node.scrollWidth - node.clientWidth"
    wide = f"return Math.max(...[...document.querySelectorAll('html, dialog[open]')].map({wider}))"
    shown = "return ['cameras', 'alarms'].map(id => document.getElementById(id).checkVisibility())"
    assert page.run(wide) == 0 and page.run(shown) == [True, width >= 720]
    if width < 720:
        page.click("[data-show=alarms]")
        assert page.run(shown) == [False, True] and page.run(wide) == 0
    page.click("#asked > summary")
    assert page.run(wide) == 0
    page.click("#list .open")
    assert page.text("#viewer h2") == HOSTILE and page.run(wide) == 0
    page.click("#viewer form button")
    page.run("location.hash = document.querySelector('#list .day').getAttribute('href')")
    page.until(lambda: page.text("#day .name") == HOSTILE and "highest" in page.text("#day .facts"))
    assert page.run(wide) == 0 and not page.count("img[src=x]")


CONTRAST = """
const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
function parts(colour) {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return canvas.getImageData(0, 0, 1, 1).data;
}
function light(colour) {
  const [r, g, b] = [...parts(colour)].map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function ground(node) {
  for (; node; node = node.parentElement) {
    const colour = getComputedStyle(node).backgroundColor;
    if (parts(colour)[3] === 255) return colour;
  }
  return "Canvas";
}
const faint = [];
for (const node of document.querySelectorAll("body *")) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
  if (!own || !node.checkVisibility() || node.closest("template, :disabled")) continue;
  const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((a, b) => b - a);
  const contrast = (a + 0.05) / (b + 0.05);
  if (contrast < 4.5) faint.push(`${node.tagName} ${node.className}: ${contrast.toFixed(2)} ${node.textContent.slice(0, 30)}`);
}
return faint;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast_enough(page, stand, scheme):
    page.open(scheme=scheme, at="/#day/c2")
    page.until(lambda: "highest" in page.text("#day .facts"))
    page.run("document.querySelector('#banner').hidden = false; document.querySelector('#banner').textContent = 'lost'")
    page.run("document.querySelector('#list .saved').classList.add('error')")
    page.run("document.querySelector('#list .saved').textContent = 'not saved'")
    assert page.run(CONTRAST) == []


def test_a_tab_that_nobody_looks_at_keeps_no_connection_and_still_counts(page, stand):
    """Browsers have six connections to a server: of seven tabs the last two stayed empty."""
    stand.gone.append({"id": "c99", "name": "shed"})
    page.open()
    page.until(lambda: page.count("#cards .card") == 4)
    assert "c99" in page.texts("#asking select[name=camera] option")
    hide = """Object.defineProperty(document, 'hidden', {value: arguments[0], configurable: true});
        const every = setInterval;
        window.setInterval = (work) => every(work, 100);
        document.dispatchEvent(new Event('visibilitychange'));
        window.setInterval = every;"""
    page.run(hide, True)
    page.until(lambda: not stand.n_listening)
    stand.alarm("c0", score=0.97)
    page.until(lambda: page.run("return document.title").startswith("("))
    page.run(hide, False)
    page.until(lambda: stand.n_listening == 1)


def test_an_alarm_that_comes_while_a_filter_is_answered_stays(page, stand):
    page.open()
    page.until(lambda: page.count("#list li") == 3)
    stand.may_answer.clear()
    page.click("#asking [name=open]")
    page.until(lambda: sum(path == "/api/alarms" for _, path in stand.asked) >= 3)
    alarm = stand.alarm("c0", lasts=None)
    page.until(lambda: page.count("#list li") == 4)
    stand.may_answer.set()
    page.until(lambda: page.count("#list li") == 3)  # the one that is acknowledged has gone
    assert page.run("return [...document.querySelectorAll('#list li')].some(one => one.alarm.id === arguments[0])", alarm["id"])


def test_a_lost_connection_is_told_and_everything_is_fetched_anew_afterwards(page, stand, server):
    page.open()
    page.expect_errors(
        "ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE"
    )
    server.stop()
    page.until(lambda: "No connection since " in page.text("#banner") and "trying again" in page.text("#banner"))
    assert not page.run("return document.querySelector('#banner').hidden")
    stand.cameras["c3"] |= dict(alarm=None, state="down")
    stand.alarm("c0", tell=False)
    server.start()
    page.until(lambda: page.run("return document.querySelector('#banner').hidden"))
    assert names(page) == ["attic", "yard", "door", "hall"] and page.count("#list li") == 4
    assert page.text("#said").startswith("Alarm: door, ")
    stand.change("c0", scores=[[time.time(), 0.77]])
    page.until(lambda: "0.77" in page.texts("#cards .score"))
    stand.outbox.append(("trouble", {"error": "events.db: disk I/O error"}))
    page.until(lambda: "trying again (events.db: disk I/O error)" in page.text("#banner"))
    page.until(lambda: page.run("return document.querySelector('#banner').hidden"))
    stand.outbox.append(("stopping", {}))
    page.until(lambda: page.text("#banner").startswith("The watch has ended, at "))


def test_without_the_token_the_page_goes_to_the_login(page, stand):
    page.open()
    page.expect_errors("401", "403")
    stand.token = "secret"
    page.click("#asking [name=open]")
    page.until(lambda: page.run("return location.pathname") == "/login")
    page.run("document.querySelector('[name=token]').value = 'wrong'; document.querySelector('form').submit()")
    page.until(lambda: page.run("return location.search") == "?wrong")
    page.run("document.querySelector('[name=token]').value = 'secret'; document.querySelector('form').submit()")
    page.until(lambda: page.run("return location.pathname") == "/" and page.count(".card") == 4)


def test_two_hundred_cameras_cost_little_and_fetch_the_pictures_in_view_alone(page, stand):
    for i in range(196):
        stand.add(f"camera {i}")
    page.open()
    page.driver.execute_cdp_cmd("Performance.enable", dict(timeDomain="threadTicks"))  # the processor's time, not the clock's
    page.until(lambda: len({path for _, path in stand.asked if path.startswith("/cameras/")}) > 10)
    before, n_seconds = page.busy(), 3
    for _ in range(n_seconds):
        stand.tick()
        time.sleep(1)
    spent = (page.busy() - before) / n_seconds
    asked = [(at, path) for at, path in stand.asked if path.startswith("/cameras/")]
    print(f"200 cameras: {1000 * spent:.0f} ms of the page's thread a second")
    paths = {path for _, path in asked}
    assert 10 < len(paths) < 60 and spent < 0.3, (len(paths), spent)
    for path in paths:
        times = [at for at, other in asked if other == path]
        assert all(b - a > 1.7 for a, b in pairwise(times)), times
    page.run("document.querySelector('#cards').lastElementChild.scrollIntoView()")
    page.until(lambda: not {path for _, path in stand.asked if path.startswith("/cameras/")} <= paths)
