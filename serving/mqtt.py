"""The MQTT broker: a retained topic for each camera, and for each two binary sensors that Home Assistant finds by itself.

    lshma/door = {"camera": "door", "alarm": "ON", "live": "ON", "id": ..., "start": ..., "score": ..., ...}   as known last
    lshma/status/1f3a9c02 = online, or offline as soon as the watch is gone; of each watch its own
    homeassistant/binary_sensor/lshma_door_alarm/config, ..._live/config   what Home Assistant is told of them

A camera's state changes with its alarms and when it is down or up again; each state is sent at QoS 1 and waited for.
"""

import hashlib
import json
import platform
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from files.extra import needed
from video.address import masked
from watching.alarms import Alarm

TIMEOUT = 10.0  # seconds for an answer
PORTS = {"mqtt": 1883, "mqtts": 8883}
SENSORS = {"alarm": "safety", "live": "connectivity"}  # of each camera: field of its state, Home Assistant's class
QUIET = {"alarm": "OFF", "live": None}  # a camera of which nothing is known yet: each state has both, None is "unknown" there


class Broker:
    """A sink: mqtt://[user:password@]host[:port], mqtts:// with TLS, or a bare host."""

    name = "mqtt"

    def __init__(self, address: str, folder: Path):
        """folder: the watch's, by which its status is told from others'. Raises ValueError where the address is none."""
        mqtt = needed("paho.mqtt.client", "serve")
        address = address if "://" in address else f"mqtt://{address}"
        try:
            parts = urlsplit(address)
            port = parts.port or PORTS.get(parts.scheme)
        except ValueError:  # of a port that is no number, or of brackets
            port = None
        more = port and (parts.path.strip("/"), parts.query, parts.fragment)
        if not port or not parts.hostname or parts.scheme not in PORTS or any(more):
            what = "expected a host, mqtt://[user:password@]host[:port], or mqtts:// so"
            raise ValueError(f"--mqtt {masked(address)}: {what}; of / ? # @ in a password %2F %3F %23 %40")
        self.shown = f"{parts.scheme}://{parts.hostname}"
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if parts.username:
            self.client.username_pw_set(unquote(parts.username), parts.password and unquote(parts.password))
        if parts.scheme == "mqtts":
            self.client.tls_set()
        self.status = f"lshma/status/{digest(f'{platform.node()} {folder.resolve()}')}"
        self.client.will_set(self.status, "offline", qos=1, retain=True)
        self.client.on_connect, self.client.on_connect_fail = self.connected, self.failed
        self.client.on_disconnect, self.client.on_message = self.lost, self.heard
        self.client.on_publish = self.taken
        self.client.connect_timeout = TIMEOUT
        self.client.connect_async(parts.hostname, port, keepalive=30)
        self.why, self.begun, self.up = "no answer", False, threading.Event()
        self.cameras: frozenset[str] = frozenset()  # those watched when it began
        self.introduced: set[str] = set()  # cameras that this broker has been told of
        self.states: dict[str, dict[str, Any]] = {}
        self.online: Any = None  # the last message that says so
        self.repeated: Any = None  # the last of all states, as they are sent when the broker is there again
        self.once_more = False  # once that one is taken
        self.sending: Mapping[str, Any] | None = None  # the message that the broker has not taken yet

    def begin(self, lasting: Iterable[Alarm], cameras: Iterable[str]) -> None:
        """As Sink.begin."""
        self.cameras = frozenset(cameras)
        self.states = {alarm.camera: {"camera": alarm.camera} | QUIET | {"alarm": "ON"} for alarm in lasting}

    def connected(self, client: Any, userdata: Any, flags: Any, answer: Any, properties: Any) -> None:
        """The broker has answered; one that was started anew may know nothing any more."""
        if answer.is_failure:
            self.why = f"it refuses: {answer}"
            return
        client.subscribe(topic_of_config("+"))
        # what is not taken is queued still, and sent again: of a broker that comes and goes it would be more each time
        if not self.online or is_taken(self.online):
            self.online = client.publish(self.status, "online", qos=1, retain=True)
        if not self.repeated or is_taken(self.repeated):
            self.repeat()
        else:
            self.once_more = True
        self.up.set()

    def repeat(self) -> None:
        """Send all states."""
        self.once_more = False
        self.introduced.clear()
        for state in list(self.states.values()):
            self.repeated = self.publish(state)

    def taken(self, client: Any, userdata: Any, number: int, *_: Any) -> None:
        """The broker has taken a message; if the last of all states, it has those that it was sent before it was lost, too."""
        if self.once_more and number == self.repeated.mid:
            self.repeat()

    def heard(self, client: Any, userdata: Any, message: Any) -> None:
        """What Home Assistant was told once: it forgets a camera of this watch that went while no broker was given."""
        try:
            config = json.loads(message.payload)
            camera, status = config["device"]["name"], config["availability_topic"]
        except (ValueError, KeyError, TypeError):  # of another device
            return
        if message.retain and status == self.status and camera not in self.cameras and camera not in self.states:
            self.forget(camera)

    def failed(self, *_: Any) -> None:
        self.why = f"no connection ({sys.exception()})"  # paho tells of it in the handler of this exception

    def lost(self, client: Any, userdata: Any, flags: Any, answer: Any, properties: Any) -> None:
        if self.up.is_set():
            self.up.clear()
            self.why = f"the connection is lost: {answer}"

    def send(self, message: Mapping[str, Any]) -> None:
        """As Sink.send."""
        if not self.begun:
            self.begun = True
            self.client.loop_start()
        if not self.up.wait(TIMEOUT):
            raise OSError(f"{self.shown}: {self.why}")
        if message is not self.sending:  # else it is on its way: published again, it would come twice
            self.published, self.sending = self.begun_to_send(message), message
        try:
            self.published.wait_for_publish(TIMEOUT)
        except (RuntimeError, ValueError) as error:  # the connection is gone, or the queue is full
            self.sending = None
            raise OSError(f"{self.shown}: {error}") from error
        if not self.published.is_published():
            raise OSError(f"{self.shown}: no answer within {TIMEOUT:.0f} s")
        self.sending = None

    def begun_to_send(self, message: Mapping[str, Any]) -> Any:
        """Publish what follows from a message. It is known from now on: a broker that comes again is told no older state."""
        camera = message["camera"]
        if message["kind"] == "gone":
            self.states.pop(camera, None)
            return self.forget(camera)
        self.states[camera] = self.states.get(camera, {"camera": camera} | QUIET) | changed(message)
        return self.publish(self.states[camera])

    def forget(self, camera: str) -> Any:
        """A camera that is gone leaves nothing behind: an empty message takes a retained one away."""
        self.introduced.discard(camera)
        for topic in introduction(camera, self.status):
            self.client.publish(topic, "", qos=1, retain=True)
        return self.client.publish(f"lshma/{topic_of(camera)}", "", qos=1, retain=True)

    def publish(self, state: Mapping[str, Any]) -> Any:
        """A camera's state, and before its first one what Home Assistant is told of it."""
        camera = state["camera"]
        if camera not in self.introduced:
            self.introduced.add(camera)
            for topic, config in introduction(camera, self.status).items():
                self.client.publish(topic, json.dumps(config, ensure_ascii=False), qos=1, retain=True)
        return self.client.publish(f"lshma/{topic_of(camera)}", json.dumps(state, ensure_ascii=False), qos=1, retain=True)

    def close(self) -> None:
        if self.up.is_set():
            self.client.publish(self.status, "offline", qos=1, retain=True).wait_for_publish(1.0)
        self.client.disconnect()
        self.client.loop_stop()


def is_taken(published: Any) -> bool:
    """Whether the broker has what was published; also where it was refused, and will never be."""
    try:
        return published.is_published()
    except (RuntimeError, ValueError):
        return True


def changed(message: Mapping[str, Any]) -> dict[str, Any]:
    """What a message says of a camera's state: of an alarm all that is known of it, else whether the camera is up, and why."""
    if message["kind"] == "alarm":
        return {name: value for name, value in message.items() if name not in ("kind", "news")} | {
            "alarm": "OFF" if message["news"] == "ends" else "ON"
        }
    return {"live": "ON" if message["kind"] == "up" else "OFF", "since": message["wall"], "text": message["text"]}


def topic_of(camera: str) -> str:
    """A camera's name in topics and identifiers; where that cannot hold all its letters, with a digest to tell it apart."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", camera)
    return name if name == camera and camera != "status" else f"{name[:40]}_{digest(camera)}"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def topic_of_config(sensor: str) -> str:
    return f"homeassistant/binary_sensor/{sensor}/config"


def introduction(camera: str, status: str) -> dict[str, dict[str, Any]]:
    """The retained messages by which Home Assistant finds a camera's sensors, by topic; status: the topic of its watch's."""
    topic = topic_of(camera)
    return {
        topic_of_config(f"lshma_{topic}_{field}"): {
            "name": field,
            "unique_id": f"lshma_{topic}_{field}",
            "device_class": kind,
            "state_topic": f"lshma/{topic}",
            "value_template": f"{{{{ value_json.{field} }}}}",
            "json_attributes_topic": f"lshma/{topic}",
            "availability_topic": status,
            "device": {"identifiers": [f"lshma_{topic}"], "name": camera, "model": "LSHMA"},
        }
        for field, kind in SENSORS.items()
    }
