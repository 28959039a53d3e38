"""Live sources: what is dropped, and servers that die, are silent or send garbage."""

import io
import os
import socket
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from video.address import masked
from video.decode import by_time, opened
from video.snippets import Snippet, cut
from watching import readers
from watching.brought import Begins, Happened, How, Taken
from watching.cameras import Camera, cameras_of, name_of
from watching.readers import Reader

HOW = How(places=(4, 12), by="time", fps=30.0, snippet_seconds=16 / 30, forget_after=60.0)


def reader_of(source="http://127.0.0.1/", live=True, **known):
    known = {"first": 0, "known_until": None} | known
    return Reader(Camera("door", source, live), HOW, threading.Condition(), **known)


def taken(number):
    return Taken(Snippet(number, 0.0, 16, np.zeros(1)), 0.0, 0.0, [])


def test_of_a_live_source_the_oldest_is_dropped_and_counted():
    reader = reader_of()
    reader.put(Begins("", True, 0.0, {}))
    for number in range(100):
        reader.put(taken(number))  # nobody takes: it never blocks
    assert reader.n_dropped == 92 and reader.n_waiting == 8
    with reader.changed:
        first, *rest = reader.take(5)
        assert isinstance(first, Begins) and [what.snippet.number for what in rest] == [92, 93, 94, 95, 96]
        assert [what.snippet.number for what in reader.take(5)] == [97, 98, 99] and reader.n_waiting == 0


def test_a_file_waits_where_nobody_takes():
    reader = reader_of(live=False)
    thread = threading.Thread(target=lambda: [reader.put(taken(number)) for number in range(30)], daemon=True)
    thread.start()
    numbers = []
    while len(numbers) < 30:
        with reader.changed:
            assert len(reader.ready) <= readers.WAITING
            numbers += [what.snippet.number for what in reader.take(3)]
        time.sleep(0.001)
    assert numbers == list(range(30)) and reader.n_dropped == 0


def test_what_happens_does_not_pile_up():
    """A new memory that nobody has heard of yet is told by what replaces it."""
    reader, most = reader_of(), 0
    for n in range(1000):
        reader.put(Begins("", n == 10, 0.0))
        reader.put(taken(n))
        reader.put(Happened("lost", str(n)))
        most = max(most, len(reader.ready))
    assert most <= readers.MOST + 2
    left = []
    with reader.changed:
        while reader.ready:
            left += reader.take(1)
    assert any(what.anew for what in left if isinstance(what, Begins)) and reader.n_waiting == 0
    assert sum(isinstance(what, Taken) for what in left) + reader.n_dropped == 1000
    for n in range(1000):
        reader.put(Happened("lost", str(n)))
    assert len(reader.ready) == readers.MOST and reader.ready[-1].text == "999"


def test_pauses_grow_are_jittered_and_begin_anew_after_a_while(monkeypatch):
    reader, pauses, now = reader_of(), [], [0.0]
    lives = {12: 31.0, 14: 29.0}  # seconds, of the attempts that open

    def wait(pause):
        pauses.append(pause)
        if len(pauses) == 20:
            reader.stopped.set()

    monkeypatch.setattr(reader.stopped, "wait", wait)
    monkeypatch.setattr(readers, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    errors = [OSError("refused"), ValueError("garbage"), KeyError("secret"), MemoryError()]

    @contextmanager
    def fake(source, **how):
        if len(pauses) not in lives:
            raise errors[len(pauses) % 4]
        yield SimpleNamespace(broken=None)

    monkeypatch.setattr(readers, "opened", fake)
    monkeypatch.setattr(reader, "follow", lambda video: now.__setitem__(0, now[0] + lives[len(pauses)]))
    reader.watch()
    whole = np.array([1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60, 1, 2, 4, 8, 16, 32, 60, 60])
    assert (pauses <= whole).all() and (pauses >= whole / 2).all() and len(set(pauses / whole)) > 9
    texts = [what.text for what in reader.ready]
    assert "secret" not in "".join(texts) and "unexpected KeyError" in texts[2] and "the stream ended" in texts[12]


def drawn(n):
    """An MPEG-TS of n frames."""
    av, file = pytest.importorskip("av"), io.BytesIO()
    with av.open(file, "w", format="mpegts") as out:
        stream = out.add_stream("libx264", rate=30, options={"preset": "ultrafast", "tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 5 * i % 256, np.uint8), "rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


@contextmanager
def served(*scripts):
    """An HTTP server, each of whose connections goes on as the next script says; yields its address, with a password."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            for script in scripts:
                try:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(4096)
                        if script(connection):
                            connection.shutdown(socket.SHUT_WR)
                        connection.recv(4096)  # until the other side closes
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://me:hush@127.0.0.1:{server.getsockname()[1]}/x?token=hush"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def sends(data, ends=True):
    def script(connection):
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n" + data)
        return ends

    return script


def brought(reader, until):
    """What a running reader brings until that is enough; fails after half a minute."""
    all_of, patience = [], time.monotonic() + 30
    while not until(all_of):
        assert time.monotonic() < patience, all_of
        with reader.changed:
            if not reader.ready:
                reader.changed.wait(0.1)
            all_of += reader.take(8)
    return all_of


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(readers, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(readers, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(readers, "OPENING", {"timeout": 0.4, "options": {}})


def test_a_stream_that_dies_begins_anew_with_its_own_snippets(quick, tmp_path):
    """And garbage, an empty answer, one that is cut off and one that falls silent are each told and done with."""
    data = drawn(40)
    (tmp_path / "x.ts").write_bytes(data)
    with opened(tmp_path / "x.ts") as video:
        whole = [snippet for snippet in cut(by_time(video.frames(), 30.0), HOW.places) if snippet.n_frames == 16]
    garbage = np.random.default_rng(0).bytes(50_000)
    scripts = [sends(data), sends(garbage), sends(b""), lambda _: False, sends(data[: len(data) // 2])]
    scripts += [sends(data, ends=False), sends(data)]
    with served(*scripts) as address:
        reader = reader_of(address)
        reader.start()
        all_of = brought(reader, lambda seen: sum(isinstance(what, Happened) for what in seen) >= 7)
        reader.stopped.set()
        reader.join(3)
        assert not reader.is_alive()
    text = "".join(what.text for what in all_of if not isinstance(what, Taken))
    assert "hush" not in text and "***@127.0.0.1" in text and "token=***" in text
    assert [what.kind for what in all_of if isinstance(what, Happened)][:7] == ["lost"] * 7
    lost = [what.text for what in all_of if isinstance(what, Happened)]
    assert "nothing within 0.4 s" in lost[3] and "nothing within 0.4 s" in lost[5]
    begun = [what for what in all_of if isinstance(what, Begins)]
    assert len(begun) == 4 and all(what.anew and what.facts["width"] == 64 for what in begun)
    numbers = [what.snippet.number for what in all_of if isinstance(what, Taken)]
    assert numbers == [0, 1, 0, 0, 1, 0, 1]
    for what in (what for what in all_of if isinstance(what, Taken)):
        assert np.array_equal(what.snippet.pictures, whole[what.snippet.number].pictures)
        assert what.snippet.start == pytest.approx(what.snippet.number * 16 / 30) and abs(what.wall - time.time()) < 9


@pytest.mark.parametrize("gap", [20.0, 100.0, -3000.0])  # the last by a clock that was set back meanwhile
def test_a_watch_that_is_started_again_goes_on_in_the_streams_time(quick, gap):
    with served(sends(drawn(40))) as address:
        reader = reader_of(address, first=7, known_until=time.time() - gap, known_time=50.0)
        reader.start()
        begins, first, *_ = brought(reader, lambda seen: len(seen) >= 3)
        reader.stopped.set()
    assert begins.anew == (not 0 <= gap <= HOW.forget_after)
    assert (first.snippet.number, first.snippet.start) == (0, 0.0) if begins.anew else (7, pytest.approx(70, abs=3))


def test_no_threads_or_files_are_left(quick):
    data = drawn(4)
    with served(*[sends(data)] * 30) as address:
        reader = reader_of(address)
        reader.start()
        brought(reader, lambda seen: len(seen) >= 6)
        before = len(os.listdir("/proc/self/fd")), threading.active_count()
        brought(reader, lambda seen: len(seen) >= 40)
        assert len(os.listdir("/proc/self/fd")) <= before[0] + 2 and threading.active_count() <= before[1]
        reader.stopped.set()
        reader.join(3)
        assert not reader.is_alive()


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://me:hush@10.0.0.7:554/door?x=1",
        "rtsp://me:hu/hush?#h@10.0.0.7:554/door",
        "rtsp://me:hu@hush@10.0.0.7/door",
        "rtsp://10.0.0.7/user=me_password=hush_channel=1.sdp?real_stream",
        "http://10.0.0.7/door?pwd=hush@hush&x=1",
        "rstp://me:hush@10.0.0.7/door",
    ],
)
def test_a_password_is_nowhere(address):
    assert "hush" not in masked(address) + name_of(address) and "10.0.0.7" in masked(address)
    if address.startswith("rstp"):
        with pytest.raises(ValueError, match="no address of a known kind") as raised:
            cameras_of([address])
        assert "hush" not in str(raised.value)
    else:
        (camera,) = cameras_of([address])
        assert camera.live and camera.source == address and "hush" not in camera.name + camera.shown


def test_names_of_addresses():
    assert name_of("rtsp://me:secret@10.0.0.7:554/door?x=1") == "10.0.0.7_554_door"
