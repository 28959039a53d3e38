"""The messages of a watch: none is lost or doubled, whatever the webhook or the broker on the other side does."""

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from serving.mqtt import Broker, topic_of
from serving.webhook import Webhook, seconds_of
from watching import journal, outbox
from watching.alarms import Alarm
from watching.brought import Happened
from watching.watched import Told

mqtt = pytest.importorskip("paho.mqtt.client")
pytest.importorskip("httpx")

ALARM = Alarm("door", "s", 3, 1.5, 2.0, None, None, None, None, 0.9, 2)


class Listed:
    """A sink that fails as often as it is told, and then takes."""

    name = "listed"

    def __init__(self, *answers):
        self.answers, self.taken = list(answers), []

    def begin(self, lasting, cameras):
        self.lasting = list(lasting)

    def send(self, message):
        if self.answers and (error := self.answers.pop(0)):
            raise error
        self.taken.append(message)

    def close(self):
        pass


def post(box, *told):
    with box.journal.turn():
        box.post(told)
    box.wake()


def eventually(is_so, seconds=30.0):
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def test_messages_wait_in_order_until_they_are_taken_and_outlive_the_watch(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 0.01)
    begins, ends = Told("door", ALARM, "begins"), Told("door", ALARM._replace(end=2.0), "ends")
    down, again = Told("door", Happened("lost", "no route")), Told("door", Happened("lost", "no route; next try"))
    with journal.opened(tmp_path / "events.db") as db:
        dead = outbox.Outbox(db, [Listed()])
        post(dead, begins, Told("door", ALARM, "rises"), down, again)  # killed before anything was sent
        sink = Listed(OSError("busy"), OSError("busy"), None, ValueError("no such field"))
        box = outbox.Outbox(db, [sink])
        box.start(["door"])
        post(box, ends, Told("door", Happened("opened", "")))
        eventually(lambda: len(sink.taken) == 3)
        assert [(of["kind"], of.get("news")) for of in sink.taken] == [("alarm", "begins"), ("alarm", "ends"), ("up", None)]
        said = [what for _, what in box.said()]
        assert [what.kind for what in said] == ["unreachable", "reached", "refused"]
        assert "events.db" in said[0].text and "no route" in said[2].text, "what is left out is named"
        assert box.close(5.0) == [] and db.n_messages() == {}
        alone = outbox.Outbox(db, [stubborn := Listed(*[OSError("busy")] * 999)])
        alone.start(["door"])
        post(alone, begins)
        assert alone.close(0.1) == ["1 messages wait for listed"] and not stubborn.taken


def test_a_sink_that_hangs_holds_up_nobody_is_told_and_has_all_in_order_when_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(outbox, "HANGING", 0.2)
    goes_on = threading.Event()

    class Hanging(Listed):
        name = "hanging"

        def send(self, message):
            assert goes_on.wait(30)
            super().send(message)

    with journal.opened(tmp_path / "events.db") as db:
        box = outbox.Outbox(db, [hanging := Hanging(), other := Listed()])
        box.start(["door"])
        for number in range(30):
            post(box, Told("door", ALARM._replace(first=number), "begins"))
        eventually(lambda: len(other.taken) == 30)
        assert not hanging.taken and db.n_messages()["hanging"] == 30
        told = []
        eventually(lambda: told.extend(box.said()) or told)
        time.sleep(0.3)
        assert [*told, *box.said()] == told and told[0][0] == "hanging" and "no whole answer in 0 s" in told[0][1].text
        goes_on.set()
        eventually(lambda: hanging.taken == other.taken)
        assert [(name, what.kind) for name, what in box.said()] == [("hanging", "reached")]
        assert box.close(5.0) == []


@contextmanager
def answering(answers):
    """A web server that gives these answers in turn, the last one for ever; what it got."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((self.headers.get("authorization"), json.loads(body)))
            self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
            self.send_header("location", "/elsewhere")
            self.send_header("retry-after", "7")
            self.end_headers()

        def log_message(self, *_):
            pass

    there = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=there.serve_forever, daemon=True).start()
    yield there.server_port, got
    there.shutdown()
    there.server_close()


def test_a_webhook_takes_is_tried_again_or_leaves_out_by_its_answer_and_its_password_is_never_shown():
    message = {"kind": "up", "camera": "dör", "wall": 1.0}
    with answering([204, 503, 302, 422]) as (port, got):
        hook = Webhook(f"http://me:hush@127.0.0.1:{port}/services/T0/hush?token=hush")
        hook.send(message)
        for kind, words in ((OSError, "503 Service Unavailable"), (OSError, "302"), (ValueError, "422")):
            with pytest.raises(kind, match=words) as error:
                hook.send(message)
            assert "hush" not in str(error.value) and getattr(error.value, "seconds", 7) == 7
        assert got[0][0].startswith("Basic ") and got[0][1] == message and len(got) == 4
    with pytest.raises(OSError, match="refused") as error:
        hook.send(message)
    assert "hush" not in str(error.value)
    hook.close()
    for address in ("ftp://h/x", "no address", "http://"):
        with pytest.raises(ValueError, match=r"--webhook .*expected"):
            Webhook(address)


def test_who_says_when_to_come_again_is_not_asked_before(monkeypatch, tmp_path):
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 0.01)
    for text, seconds in (
        ("90", 90),
        ("9" * 99, 3600),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("soon", 0),
        ("", 0),
        (f"Mon, 1 Jan {'9' * 20} 00:00:00 GMT", 0),
    ):
        assert seconds_of(text) == seconds
    assert 50 < seconds_of(formatdate(time.time() + 60, usegmt=True)) <= 60
    with journal.opened(tmp_path / "events.db") as db:
        box = outbox.Outbox(db, [sink := Listed(outbox.Later("busy", 0.5), None)])
        box.start(["door"])
        began = time.monotonic()
        post(box, Told("door", ALARM, "begins"))
        eventually(lambda: sink.taken)
        assert time.monotonic() - began >= 0.5 and box.close(5.0) == []


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def mosquitto(port):
    broker = subprocess.Popen(["mosquitto", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield broker
    finally:
        broker.kill()
        broker.wait()


def retained(port):
    """The broker's retained messages, by topic: those that come before what is published once it has taken the subscription."""
    found, last = {}, threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_subscribe = lambda *_: client.publish("that is all")
    client.on_message = lambda *heard: (
        last.set()
        if heard[2].topic == "that is all"
        else found.update({heard[2].topic: heard[2].payload.decode()} if heard[2].retain else {})
    )
    client.connect("127.0.0.1", port)
    client.subscribe("#")
    client.loop_start()
    assert last.wait(30)
    client.disconnect()
    client.loop_stop()
    return found


def test_a_broker_has_each_cameras_state_whenever_it_comes_or_is_killed(monkeypatch, tmp_path):
    if not (shutil.which("mosquitto") and shutil.which("mosquitto_sub")):
        pytest.skip("mosquitto is not installed")
    port, odd = free_port(), "d/oor + # <b>"
    sink = Broker(f"mqtt://127.0.0.1:{port}", tmp_path)
    sink.begin([ALARM._replace(camera=odd)], [odd, "yard"])
    up = {"kind": "up", "camera": odd, "wall": 5.0, "text": "h264"}

    def fails(message: Mapping, match: str) -> None:
        with monkeypatch.context() as soon, pytest.raises(OSError, match=match):
            soon.setattr("serving.mqtt.TIMEOUT", 0.3)
            sink.send(message)

    fails(up, r"no connection .*refused")

    def sent(message: Mapping, to: Broker = sink) -> bool:
        try:
            return to.send(message) is None
        except OSError:
            return False

    with mosquitto(port) as broker:
        eventually(lambda: sent(up))
        sink.send({"kind": "up", "camera": "yard", "wall": 6.0, "text": ""})
        command = ["mosquitto_sub", "-p", str(port), "-t", "lshma/yard", "-C", "3", "-W", "9"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as heard:
            first = json.loads(heard.stdout.readline())
            assert (first["live"], first["alarm"]) == ("ON", "OFF"), "Home Assistant has unknown, and a warning, for no alarm"
            broker.send_signal(signal.SIGSTOP)
            begins = {"kind": "alarm", "news": "begins", "id": "x", "camera": "yard", "score": 0.9}
            for _ in range(2):
                fails(begins, "no answer")
            broker.send_signal(signal.SIGCONT)
            eventually(lambda: sent(begins))
            sink.send(begins | {"news": "ends"})
            assert [json.loads(line)["alarm"] for line in heard.stdout] == ["ON", "OFF"], "each once"
    with mosquitto(port):  # killed, and it knows nothing any more
        gone = {"kind": "gone", "camera": "yard", "wall": 7.0, "text": ""}
        eventually(lambda: sent(gone))  # it may not know yet that the connection is lost
        there = retained(port)
        assert json.loads(there[f"lshma/{topic_of(odd)}"])["alarm"] == "ON", "an alarm of an earlier watch lasts"
        lasting = Broker(f"mqtt://127.0.0.1:{port}", tmp_path / "another")
        lasting.begin([ALARM], ["door"])
        assert lasting.states["door"] == {"camera": "door", "alarm": "ON", "live": None}, "up or down is not known yet"
        eventually(lambda: sent(up | {"camera": "door"}, lasting))
        lasting.close()
        assert (retained(port)[sink.status], retained(port)[lasting.status]) == ("online", "offline"), "each watch its own"
        later = Broker(f"mqtt://127.0.0.1:{port}", tmp_path / "another")
        later.begin([], ["lobby"])  # the door left the list in a watch without a broker
        eventually(lambda: sent(up | {"camera": "lobby"}, later))
        eventually(lambda: not any("door" in topic for topic in retained(port)))
        assert f"lshma/{topic_of(odd)}" in retained(port), "of another watch"
        later.close()
        assert there[sink.status] == "online" and not any("yard" in topic for topic in there)
        config = json.loads(there[f"homeassistant/binary_sensor/lshma_{topic_of(odd)}_alarm/config"])
        assert config["device"]["name"] == odd and config["state_topic"] == f"lshma/{topic_of(odd)}"
        sink.send({"kind": "alarm", "news": "ends", "id": "x", "camera": odd, "score": 0.9})
        sink.close()
        there = retained(port)
        assert json.loads(there[f"lshma/{topic_of(odd)}"])["alarm"] == "OFF" and there[sink.status] == "offline"
    for address in ("mqtt://", "http://h", "h:port", "mqtt://h/topic"):
        with pytest.raises(ValueError, match=r"--mqtt .*expected a host"):
            Broker(address, tmp_path)


def test_a_broker_that_comes_and_goes_is_sent_all_states_once(tmp_path):
    """Each time they were queued again, up to what paho holds."""
    broker, sent, taken = Broker("h", tmp_path), [], []
    info = SimpleNamespace(is_published=lambda: bool(taken), mid=7)
    broker.client.publish = lambda topic, *_, **__: sent.append(topic) or info
    broker.begin([ALARM], ["door"])
    for _ in range(3):
        broker.connected(broker.client, None, None, SimpleNamespace(is_failure=False), None)
    once = list(sent)
    assert len(once) == 4 and once[0] == broker.status and once[-1] == "lshma/door"
    taken.append(True)
    broker.taken(broker.client, None, 7, None, None)  # one that was started anew meanwhile has nothing of before
    assert sent == once + once[1:]
    broker.connected(broker.client, None, None, SimpleNamespace(is_failure=False), None)
    assert sent == once + once[1:] + once


def test_a_broker_that_was_lost_while_it_took_the_states_is_told_again_that_the_watch_is_there(tmp_path):
    """It published "offline", the will, and had taken "online" before: all cameras were unavailable for ever."""
    broker, sent = Broker("h", tmp_path), []
    broker.client.publish = lambda topic, what, **_: sent.append(what) or SimpleNamespace(is_published=lambda: what == "online")
    broker.begin([ALARM], ["door"])
    for _ in range(2):
        broker.connected(broker.client, None, None, SimpleNamespace(is_failure=False), None)
    assert len(sent) == 5 and sent[0] == sent[-1] == "online"
