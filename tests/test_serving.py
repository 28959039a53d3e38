"""What a watch gives others: a page that shows only what it may, and figures for programs."""

import json
import select
import shutil
import socket
import sqlite3
import ssl
import subprocess
import threading
import time
from contextlib import closing, suppress
from types import SimpleNamespace

import pytest
import torch
from conftest import call, make_model, refused, write_list
from test_groups import machines  # noqa: F401
from test_sinks import ALARM, Listed, eventually
from test_watch import scenes, tiny, write_video

from serving import access, giving, server
from serving.board import Board, camera_of, id_of, silent
from serving.health import health, metrics
from serving.news import News
from watching import journal, outbox, roster, setting
from watching.brought import Happened
from watching.cameras import Camera
from watching.watched import Figures, Watched

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")
pytest.importorskip("prometheus_client")
pytest.importorskip("paho.mqtt.client")
httpx = pytest.importorskip("httpx")


def test_times_when_a_camera_was_down_begin_with_the_first_loss_and_end_with_an_opening():
    happened = [(1.0, "opened"), (2.0, "lost"), (3.0, "lost"), (4.0, "opened"), (5.0, "gap"), (6.0, "failed")]
    assert silent(happened) == [[2.0, 4.0], [6.0, None]]
    assert silent([*happened, (7.0, "gone")]) == [[2.0, 4.0], [6.0, 7.0]]


def test_what_happens_while_events_db_cannot_be_read_is_told_afterwards():
    watched, answers = Watched(Camera("door", "rtsp://h", True)), [[], OSError("busy"), []]

    def news(after, others):
        if isinstance(answer := answers.pop(0), OSError):
            raise answer
        return answer

    told = News(SimpleNamespace(watched=lambda: {"d": watched}, news=news, oldest=lambda: 0))
    told.look()
    watched.has(Happened("opened", "h264"))
    watched.recent.append((1.5, 0.25))
    watched.n_scored += 1
    with pytest.raises(OSError, match="busy"):
        told.look()
    (event,) = told.look()
    (change,) = json.loads(event.partition("data: ")[2])
    assert (change["state"], change["score"], change["scores"]) == ("live", 0.25, [[1.5, 0.25]])


def test_all_alarms_are_told_however_many_come_at_once_their_ends_clips_and_that_they_have_gone(tmp_path):
    """Of 120 that a flash of lightning raised, open pages heard of 50, and of those that --keep-days removed nothing."""
    alarms = [ALARM._replace(camera=f"yard {n}", wall_start=time.time(), wall_peak=time.time()) for n in range(120)]
    with journal.opened(tmp_path / "events.db") as db:
        told = News(Board(SimpleNamespace(journal=db, raising=SimpleNamespace(folder=tmp_path), watched={})))

        def events():
            return [(line.split()[1], json.loads(line.partition("data: ")[2])) for line in told.look()]

        def written(**changed):
            for alarm in alarms:
                now = {name: value for name, value in changed.items() if name != "clip"}
                db.alarm(alarm._replace(**now), raised_at=time.time(), clip=changed.get("clip"))
            ((kind, content),) = events()
            return kind == "alarms" and {alarm["name"] for alarm in content} == {alarm.camera for alarm in alarms}

        assert not events()
        assert written() and written(end=9.0, wall_end=time.time()) and written(end=9.0, wall_end=time.time(), clip="a.mp4")
        assert not events()
        db.forget_alarms([alarm.id for alarm in alarms[:30]])
        assert events() == [("list", {"alarms": True})] and not events()


def test_a_live_camera_that_is_behind_and_one_that_is_down_are_shown_and_counted(tmp_path):
    now, names = time.time(), ("door", "yard")
    door, yard = (Watched(Camera(name, f"rtsp://me:hush@{name}", True)) for name in names)
    counted = {"n_frames": 90, "n_dropped": 3, "n_opened": 2, "n_waiting": 4, "seen_at": now - 1, "dropped_at": now - 2}
    door.elsewhere, yard.elsewhere = Figures(**counted, alarm="a", pictured=2.5), Figures(n_frames=0)
    door.has(Happened("opened", "h264"))
    door.has_score(0.0, now - 1.5, 0.75, 0.5)
    yard.has(Happened("lost", "no route"))
    sender = SimpleNamespace(sink=Listed(), taken=1, last=2)
    with journal.opened(tmp_path / "events.db") as db:
        for name in names:
            db.camera(name, f"rtsp://***@{name}")
            db.stream(f"{name} 1", name, began=now - 100)
        db.score_rows("yard", "yard 1", [journal.Row(i, i / 2, now - 100 + i / 2, 0.1 * i, 0.0, 1, True) for i in range(6)])
        for wall, kind in ((now - 90, "opened"), (now - 50, "lost"), (now - 40, "lost")):
            db.happened("yard", wall, kind)
        spent = SimpleNamespace(seconds={"encoder": 2.5, "model": 0.5}, n_turns=7)
        watching = SimpleNamespace(journal=db, spent=spent, outbox=SimpleNamespace(senders=[sender]), alive_at=time.monotonic())
        watching.watched, watching.raising = {"door": door, "yard": yard}, SimpleNamespace(folder=tmp_path)
        board = Board(watching)
        shown = {of["name"]: of for of in (camera_of(of, time.time()) for of in board.watched().values())}
        assert (shown["door"]["state"], shown["door"]["score"], shown["door"]["dropped"]) == ("behind", 0.75, 3)
        assert (shown["yard"]["state"], shown["yard"]["text"], shown["yard"]["alarm"]) == ("down", "no route", None)
        assert shown["yard"]["since"] == pytest.approx(now, abs=60) and "hush" not in json.dumps(shown)
        span = board.span(id_of("yard"), now - 95, now)
        assert span["down"] == [[pytest.approx(now - 50), None]] and span["name"] == "yard" and not span["alarms"]
        whole = board.span(id_of("yard"), now - 100, now)
        assert [round(score, 2) for _, score in whole["scores"]] == [0.1, 0.3, 0.5], "the highest of each second"
        said, state = metrics(board)[0].decode(), health(board)
    expected = {
        "up": (1, 0),
        "frames_total": (90, 0),
        "dropped_snippets_total": (3, None),
        "opened_total": (2, None),
        "snippets_total": (1, 0),
        "score": (0.75, None),
        "alarm": (1, 0),
    }
    for metric, values in expected.items():
        for name, value in zip(names, values, strict=True):
            line = f'lshma_camera_{metric}{{camera="{name}"}} '
            assert (f"\n{line}{float(value)}\n" in said) if value is not None else line not in said, (metric, name)
    of_door = dict(line.rsplit(" ", 1) for line in said.splitlines() if '{camera="door"}' in line)
    assert 0.9 < float(of_door['lshma_camera_frame_age_seconds{camera="door"}']) < 60
    assert 0.9 < float(of_door['lshma_camera_delay_seconds{camera="door"}']) < 60
    for line in ('seconds_total{on="encoder"} 2.5', "batches_total 7.0", "waiting_snippets 4.0", 'unsent{sink="listed"} 1.0'):
        assert f"\nlshma_{line}\n" in said
    assert state == {"status": "ok", "cameras": 2, "down": 1}


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """watch(sources, *flags, visit=f) -> what watch.py did while f(url, watching) visited its page."""
    monkeypatch.setitem(setting.as_trained.load_encoder.__globals__["ENCODERS"], "efficientnet-lite0", tiny)
    monkeypatch.setattr(roster, "EDITED_EVERY", 0.1)
    torch.save(make_model(layers=2).state_dict(), tmp_path / "model.pt")
    flags = ["--model-path", tmp_path / "model.pt", "--device", "cpu", "--out-dir", tmp_path / "out", "--threshold", 0.5]
    problems = []

    def run(*arguments, visit=None):
        start = server.Server.start

        def start_and_visit(page, watching):
            start(page, watching)

            def visiting():
                try:
                    visit(page.url, watching)
                except BaseException as error:
                    problems.append(error)
                finally:
                    watching.stopped.set()

            threading.Thread(target=visiting, daemon=True).start()

        if visit:
            monkeypatch.setattr(server.Server, "start", start_and_visit)
        done = call("watch.py", *arguments, *flags)
        if problems:
            raise problems[0]
        return done

    return run


def test_the_page_of_a_cluster_shows_what_its_machines_see(watch, machines, tmp_path):  # noqa: F811
    (tmp_path / "videos").mkdir()
    for i, name in enumerate(("door", "yard")):
        write_video(tmp_path / "videos" / f"{name}.mp4", scenes(230, i))

    def visit(url, watching):
        page = httpx.Client(base_url=url, timeout=10)

        def shown(state, n_scores):
            cameras = page.get("/api/cameras").json()["cameras"]
            return [(camera["state"], len(camera["scores"])) for camera in cameras] == [(state, n_scores)] * 2

        eventually(lambda: shown("ended", 15))
        for camera in page.get("/api/cameras").json()["cameras"]:
            assert camera["picture"] and page.get(f"/cameras/{camera['id']}.jpg").content[:2] == b"\xff\xd8"
            (alarm, *_) = page.get("/api/alarms", params={"camera": camera["id"]}).json()["alarms"]
            assert page.get(f"/pictures/{alarm['id']}.jpg").status_code == 200
        figures = page.get("/metrics").text
        assert 'lshma_camera_snippets_total{camera="yard"} 15.0' in figures and "lshma_batches_total 0.0" not in figures
        assert page.get("/healthz").json() == {"status": "ok", "cameras": 2, "down": 0}
        machines.silent.update(machines.names)
        assert page.get(f"/cameras/{camera['id']}.jpg").status_code == 404

    done = watch(tmp_path / "videos", "--serve", "0", "--ray", "head:1", visit=visit)
    assert done.code == 0 and "2 groups" in done.out and "2 of 2 files are watched" in done.out, done


HOSTILE = "<img src=x onerror=alert(1)>"


def test_a_page_shows_cameras_alarms_and_scores_takes_notes_and_follows_the_list(watch, tmp_path, monkeypatch):
    video = write_video(tmp_path / "door.mp4", scenes(230, 0))
    cameras = tmp_path / "cameras.csv"
    write_list(cameras, [[HOSTILE, video]], ["name", "source"])
    seen = SimpleNamespace()

    def happened():
        with closing(sqlite3.connect(tmp_path / "out" / "events.db")) as db:
            return [kind for (kind,) in db.execute("SELECT kind FROM happenings")]

    for of, name, value in ((server, "MOST", 20), (server, "IDLE", 3.0), (access, "IDLE", 0.5)):
        monkeypatch.setattr(of, name, value)

    def n_closed(connections):
        """Of those that the server has closed, none is waited for."""
        ready, _, _ = select.select(connections, [], [], 0)
        return len(ready)

    def visit(url, watching):
        page = httpx.Client(base_url=url, timeout=10)
        eventually(lambda: page.get("/api/cameras").json()["cameras"][0]["state"] == "ended")
        half = socket.create_connection((page.base_url.host, page.base_url.port))
        half.sendall(
            b"POST /api/alarms/x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        eventually(lambda: n_closed([half]))
        assert b"has not come within 0.5 s" in half.recv(10000)
        half.close()
        silent = [socket.create_connection((page.base_url.host, page.base_url.port)) for _ in range(25)]
        for connection in silent:
            with suppress(OSError):
                connection.send(b"G")  # what has only begun to ask is silent too
        began = time.monotonic()
        eventually(lambda: n_closed(silent) >= 5)
        assert time.monotonic() - began < server.IDLE, "at once, so that cameras can be opened"
        eventually(lambda: n_closed(silent) == 25)
        (camera,) = page.get("/api/cameras").json()["cameras"]
        assert camera["name"] == HOSTILE and len(camera["scores"]) == 15 and camera["scores"][-1][1] == camera["score"]
        alarms = page.get("/api/alarms", params={"camera": camera["id"]}).json()["alarms"]
        assert alarms and page.get("/api/alarms?camera=nobody").json()["alarms"] == []
        assert page.get("/api/alarms", params={"before": 10**20}).status_code == 400
        id = alarms[-1]["id"]
        eventually(lambda: page.get("/api/alarms").json()["alarms"][-1]["clip"])
        assert page.get(f"/pictures/{id}.jpg").content[:2] == b"\xff\xd8"
        assert page.get(f"/clips/{id}.mp4", headers={"range": "bytes=4-7"}).content == b"ftyp"
        with page.stream("GET", "/events") as events:
            lines = events.iter_lines()
            assert next(lines) == "retry: 2000"
            time.sleep(1.2)  # a look at what is there
            noted = page.post(f"/api/alarms/{id}", json={"acknowledged": True, "note": HOSTILE}).json()
            told = next(line for line in lines if line.startswith("data: ") and HOSTILE[1:9] in line)
            assert noted in json.loads(told.removeprefix("data: ")) or noted["note"] == HOSTILE
        unanswered = page.get("/api/alarms?open=1").json()
        assert unanswered["alarms"] == alarms[:-1] and unanswered["open"] == len(alarms) - 1
        assert page.post(f"/api/alarms/{id}", json={"note": ""}).json()["acknowledged"] == noted["acknowledged"]
        span = page.get("/api/span", params={"camera": camera["id"]}).json()
        assert max(score for _, score in span["scores"]) == pytest.approx(alarms[-1]["score"]) and span["alarms"]
        figures = page.get("/metrics").text
        assert 'lshma_camera_snippets_total{camera="<img' in figures and f"lshma_open_alarms {len(alarms) - 1}.0" in figures
        assert page.get("/api/cameras").headers["content-encoding"] == "gzip"
        assert page.get("/healthz").json() == {"status": "ok", "cameras": 1, "down": 0}
        for answer, words in (
            (
                page.post(f"/api/alarms/{id}", content=b'{"note": "x"}', headers={"content-type": "text/plain"}),
                "application/json",
            ),
            (page.post(f"/api/alarms/{id}", json={"note": "x" * 2001}), "at most 2000"),
            (page.post(f"/api/alarms/{id}", json={"delete": True}), "acknowledged, note"),
            (page.get("/api/alarms?since=now"), "since: expected a number"),
            (page.get("/api/alarms?sinse=1"), "unknown parameter sinse"),
            (page.get("/api/span?camera=..%2F..%2Fevents.db"), "no such camera"),
            (page.get("/pictures/..events.db.jpg"), "no such picture"),
            (page.get("/", headers={"host": "elsewhere.example"}), "127.0.0.1 or localhost"),
        ):
            assert answer.status_code in (400, 403, 404) and words in answer.json()["error"], answer.text
        write_list(cameras, [["yard", video], ["yard", video]], ["name", "source"])  # a slip: nothing changes
        eventually(lambda: "not read" in happened())
        write_list(cameras, [["yard", video]], ["name", "source"])
        eventually(lambda: [of["name"] for of in page.get("/api/cameras").json()["cameras"]] == ["yard"])
        eventually(lambda: page.get("/api/cameras").json()["cameras"][0]["state"] == "ended")
        seen.alarms = page.get("/api/alarms").json()["alarms"]
        (gone,) = page.get("/api/cameras").json()["gone"]
        assert gone == {"id": camera["id"], "name": HOSTILE}
        assert page.get("/api/span", params={"camera": gone["id"]}).json() == span

    done = watch(cameras, "--serve", 0, visit=visit)
    assert done.code == 0 and "page: http://127.0.0.1:" in done.out, done.err
    assert "list: not read: " in done.out and "both called yard" in done.out
    assert f"{HOSTILE}: gone: no longer on the list" in done.out and "yard: opened" in done.out
    assert {alarm["name"] for alarm in seen.alarms} == {HOSTILE, "yard"}, "alarms outlive their camera"


def certificate(path, key="ec -pkeyopt ec_paramgen_curve:prime256v1"):
    """A certificate of this machine and its key, in one file."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    how = f"req -x509 -newkey {key} -nodes -subj /CN=x -addext subjectAltName=IP:127.0.0.1"
    made = subprocess.run(["openssl", *how.split(), "-keyout", "-", "-out", "-"], stdout=-1, stderr=-3, check=True).stdout
    path.write_bytes(made)
    return path


def is_trusted(url, context):
    """Whether a new connection is."""
    try:
        return httpx.get(f"{url}healthz", verify=context).status_code == 200
    except httpx.ConnectError:
        return False


def test_a_page_for_others_is_encrypted_and_asks_for_the_token_and_cookies_hold_it(watch, tmp_path, monkeypatch):
    monkeypatch.setattr(server, "RENEWED_EVERY", 0.02)
    (tmp_path / "token").write_text("s3cret\n")
    pem = certificate(tmp_path / "both.pem")
    trusting = ssl.create_default_context(cafile=pem)
    video = write_video(tmp_path / "door.mp4", scenes(40, 0))

    def visit(url, watching):
        page = httpx.Client(base_url=url.replace("0.0.0.0", "127.0.0.1"), timeout=10, verify=trusting)
        assert page.get("/").headers["location"] == "/login" and page.get("/api/cameras").status_code == 401
        assert page.get("/healthz").status_code == 200 and page.get("/metrics").status_code == 401
        assert page.post("/login", data={"token": "s3cre"}).headers["location"] == "/login?wrong"
        answer = page.post("/login", data={"token": "s3cret"})
        cookie = answer.headers["set-cookie"].lower()
        assert "samesite=strict" in cookie and "secure" in cookie and "s3cret" not in cookie
        others = "; ".join(f"lshma-{i}=x" for i in range(9))  # of watches that were started with other tokens
        again = httpx.post(f"{page.base_url}login", data={"token": "s3cret"}, headers={"cookie": others}, verify=trusting)
        removed = [one for one in again.headers.get_list("set-cookie") if "max-age=0" in one.lower()]
        assert len(removed) == 2 and len(again.headers.get_list("set-cookie")) == 3, "eight may be shown"
        answer = page.get("/api/cameras")
        assert answer.status_code == 200 and answer.headers["content-security-policy"].startswith("default-src 'self'")
        cookie_of_another = {"cookie": f"lshma-12345678=x; {cookie.partition(';')[0]}"}
        assert httpx.get(f"{page.base_url}metrics", headers=cookie_of_another, verify=trusting).status_code == 200
        began = time.monotonic()
        assert httpx.get(f"{page.base_url}metrics", headers={"authorization": "Bearer x"}, verify=trusting).status_code == 401
        assert time.monotonic() - began > 0.5, "a guess takes its time"
        guesses = {"cookie": "lshma-12345678=x; lshma-87654321=y"}
        assert httpx.get(f"{page.base_url}metrics", headers=guesses, verify=trusting).status_code == 401
        assert time.monotonic() - began > 1.5, "and two twice as long"
        many = "; ".join(f"lshma-{i}=x" for i in range(9))
        began, more = time.monotonic(), {"cookie": f"{many}; {cookie.partition(';')[0]}"}
        assert "too many tokens" in httpx.get(f"{page.base_url}metrics", headers=more, verify=trusting).text
        assert time.monotonic() - began < 3, "and of many none is looked at"
        bearer = {"authorization": "Bearer s3cret"}
        assert httpx.get(f"{page.base_url}metrics", headers=bearer, verify=trusting).status_code == 200

        pem.write_text("half a certificate")
        time.sleep(0.2)
        assert httpx.get(f"{page.base_url}healthz", verify=trusting).status_code == 200
        renewed = ssl.create_default_context(cafile=certificate(pem, "rsa:2048"))
        eventually(lambda: is_trusted(page.base_url, renewed))
        assert not is_trusted(page.base_url, trusting) and page.get("/healthz").status_code == 200

    done = watch(video, "--serve", "0.0.0.0:0", "--token", f"@{tmp_path / 'token'}", "--tls-cert", pem, visit=visit)
    assert done.code == 0 and "page: https://0.0.0.0:" in done.out, done.err
    assert done.err.count("expected a certificate and its key") == 1 and "goes on with those of before" in done.err


def test_a_camera_that_left_the_list_while_nobody_watched_is_told_to_be_gone_once(watch, tmp_path, monkeypatch):
    """Its state stayed with the broker: Home Assistant had it up for ever, and an alarm that lasted went on."""
    sinks = []
    monkeypatch.setattr(giving, "sinks", lambda given, folder: [sinks.append(Listed()) or sinks[-1]])
    door, yard = (write_video(tmp_path / f"{name}.mp4", scenes(40, 0)) for name in ("door", "yard"))
    for cameras, gone in (([door, yard], 0), ([door], 1), ([door], 0), ([yard], 1)):
        done = watch(*cameras)
        assert done.code == 0 and done.out.count("gone: no longer on the list") == gone, done.out
        assert [message["kind"] for message in sinks[-1].taken].count("gone") == gone
    with journal.opened(tmp_path / "out" / "events.db") as db:
        with db.turn():
            for name in ("door", "yard"):
                db.alarm(ALARM._replace(camera=name), raised_at=5.0)
        box = outbox.Outbox(db, [sink := Listed()])
        box.start({"yard"})
        assert [alarm.camera for alarm in sink.lasting] == ["yard"]
        box.close(5.0)


def test_what_cannot_be_given_is_refused_before_anything_is_watched(watch, tmp_path, monkeypatch):
    video = write_video(tmp_path / "door.mp4", scenes(40, 0))
    monkeypatch.setattr(setting, "prepare", lambda args: pytest.fail("the model was loaded"))
    taken = socket.create_server(("127.0.0.1", 0))
    port, two, empty = taken.getsockname()[1], tmp_path / "two", tmp_path / "empty"
    two.write_text("one\ntwo\n")
    empty.touch()
    for flags, words in (
        (["--serve", port], [f"--serve 127.0.0.1:{port}", "in use", "another port"]),
        (["--serve", "0.0.0.0:0"], ["--token @FILE", "could see the cameras"]),
        (["--serve", "http"], ["expected a port"]),
        (["--token", "x"], ["--serve"]),
        (["--serve", "0", "--token", f"@{tmp_path / 'none'}"], ["none", "not read for --token"]),
        (["--serve", "0", "--token", f"@{two}"], ["one line", "2 words"]),
        (["--serve", "0", "--token", f"@{empty}"], ["empty", "0 words"]),
        (["--serve", "0", "--token", ""], ["--token is empty"]),
        (["--serve", "a..b:0", "--token", "x"], ["--serve a..b:0", "another port or address"]),
        (["--tls-cert", two], ["--tls-cert would be ignored without --serve"]),
        (["--serve", "0", "--tls-cert", two], [f"--tls-cert {two}", "expected a certificate and its key"]),
        (["--serve", "0", "--tls-cert", two, "--tls-key", tmp_path / "none"], ["--tls-key", "none: No such file"]),
        (["--webhook", ""], ["--webhook is empty"]),
        (["--webhook", "h/x"], ["--webhook", "http://"]),
        (["--webhook", "https://me:hunter2#x@h/x"], ["--webhook https://***@h/x", "%23"]),
        (["--webhook", "http://a..b/x"], ["--webhook http://a..b/x"]),
        (["--mqtt", "http://h"], ["--mqtt", "mqtt://"]),
        (["--mqtt", "http://h:1883"], ["--mqtt http://h:1883", "mqtt://"]),
        (["--mqtt", "mqtt://me:12#34@h"], ["--mqtt mqtt://***@h", "%23"]),
        (["--mqtt", "mqtt://me:pa[ss@h"], ["--mqtt mqtt://***@h"]),
    ):
        done = watch(video, *flags)
        refused(done, *words)
        assert "hunter2" not in done.err and "12#34" not in done.err
    assert not (tmp_path / "out").exists()
    taken.close()
