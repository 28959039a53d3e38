"""What cannot be watched is said before anything is; what changes between two watches is said too, and nothing is mixed."""

import json
import os
import sys
import time
from contextlib import nullcontext, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import call, make_model, refused

from running.command import exit_codes
from watching import evidence, journal, keeping, readers, setting
from watching.alarms import Alarm, Rule, Seen, State, beginning
from watching.cameras import Camera, cameras_of
from watching.journal import Row
from watching.raising import Raising
from watching.telling import message_of
from watching.watched import Told, Watched

pytest.importorskip("av")
from test_watch import scenes, tiny, write_video


@pytest.fixture
def watch(tmp_path, monkeypatch):
    """watch(source, *flags) -> what watch.py did, in the folder tmp_path / out."""
    monkeypatch.setitem(setting.as_trained.load_encoder.__globals__["ENCODERS"], "efficientnet-lite0", tiny)
    torch.save(make_model(layers=2).state_dict(), tmp_path / "model.pt")
    flags = ["--model-path", tmp_path / "model.pt", "--device", "cpu", "--out-dir", tmp_path / "out"]
    return lambda *arguments: call("watch.py", *arguments, *flags)


@pytest.fixture
def video(tmp_path):
    return write_video(tmp_path / "door.mp4", scenes(40, 0))


SECRET = "name,source\ndoor,"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name;source\ndoor;VIDEO\n", ["line 1", "the header name,source, found name;source"]),
        ("name,source,name\ndoor,VIDEO,x\n", ["line 1", "found name,source,name"]),
        ("name,source\ndoor,VIDEO,x\n", ["line 2", "double quotes"]),
        ("name,source\ndoor\n", ["line 2", "a name and a source"]),
        ('name,source\n"a\nb",VIDEO\n', ["line 3", "printable", r"'a\nb'"]),
        (f"name,source\n{'x' * 201},VIDEO\n", ["line 2", "at most 200"]),
        ("name,source\nrtsp://me:hush@h/x,rtsp://me:hush@h/x\n", ["line 2", "name is an address"]),
        (SECRET + "rtsp:/me:hush@10.0.0.7/x\n", ["line 2", "***@10.0.0.7/x", "address of a known kind"]),
        ("door,rtsp://me:hush@10.0.0.7/x\n", ["line 1", "the header name,source, found ***@10.0.0.7/x"]),
        (SECRET + "10.0.0.7/x?pwd=hush\n", ["line 2", "10.0.0.7/x?pwd=***"]),
        ("name,source\ndoor,LIST\n", ["line 2", "another list"]),
        ("name,source\ndoor,FOLDER\n", ["line 2", "a folder of 2 videos"]),
        ("name,source\ndoor,VIDEO\nDoor,rtsp://h/x\n", ["both called Door", "a name of its own"]),
        ("name,source\ndoor,/dev/null\n", ["line 2", "neither a file nor a folder"]),
    ],
)
def test_a_list_of_cameras_that_cannot_be_is_refused_by_line_and_shows_no_password(tmp_path, text, words):
    path, two = tmp_path / "cameras.csv", tmp_path / "two"
    two.mkdir()
    for name in ("a.mp4", "b.mp4"):
        (two / name).touch()
    path.write_text(text.replace("VIDEO", str(two / "a.mp4")).replace("LIST", str(path)).replace("FOLDER", str(two)))
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        cameras_of([str(path)])
    assert "hush" not in str(raised.value) and [word for word in words if word not in str(raised.value)] == []


def test_flags_and_folders_that_cannot_be_are_refused_before_the_model_is_loaded(watch, video, tmp_path, monkeypatch):
    monkeypatch.setattr(setting, "prepare", None)
    refused(watch(video, "--no-alarms", "--threshold", 0.5), "--threshold would be ignored", "--no-alarms", "leave that out")
    refused(watch(video, "--false-alarms", 3), "--false-alarms would be ignored")
    refused(watch("calibrate", video, "--json", "--report"), "--out-dir, --report, --json would be ignored by calibrate")
    refused(watch(""), "'': no such file")
    refused(watch(video, "--smooth", "slide"), "--smooth", "'slide'", "causal")
    out = tmp_path / "out"
    out.mkdir()
    for name, words in (("options.json", "another run"), ("report.html", "of no run"), ("alarms", "alarms is no folder")):
        (out / name).touch()
        refused(watch(video, "--report"), words, "choose another")
        (out / name).unlink()
    assert not list(out.iterdir())


def test_another_file_of_the_same_name_and_another_threshold_are_said_and_watched_anew(watch, video, tmp_path, run):
    assert "note: " not in watch(video, "--threshold", 0.001).out.replace("note: " + str(tmp_path / "model.pt"), "")
    facts, content = video.stat(), video.read_bytes()
    video.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(video, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    done = watch(video, "--threshold", 0.001)
    assert "door: anew: another file of this name" in done.out and "known" not in done.out, "its first bytes are others"
    for told in ((), ("--smooth", "causal"), ("--exit-threshold", 0.6)):  # as it was in any case
        assert "already" in watch(video, "--threshold", 0.001, *told).out
    done = watch(video, "--threshold", 0.999)
    assert "is of a watch with pause 8 snippets; files" in watch(video, "--threshold", 0.999, "--pause", 9).out
    assert "is of a watch with threshold 0.001, off" in done.out and "another file" not in done.out and "ALARM" not in done.out
    assert run("report.py", tmp_path / "out").code == 0
    assert "Dashed: the threshold, 0.999" in (tmp_path / "out" / "report.html").read_text()


def test_no_live_camera_goes_on_with_the_memory_of_another_model(tmp_path):
    with journal.opened(tmp_path / "events.db") as db:
        with db.turn():
            db.stream("live", "door", began=1.0)
            db.stream("file", "film")
            db.watched("live")
            assert [stream.id for stream in db.streams()] == ["file", "live"]  # of which a page has the last
            for stream, camera in (("live", "door"), ("file", "film")):
                db.state(camera, stream, 1, {})
            db.set({"model": "a", "threshold": 0.5})
        keeper = SimpleNamespace(journal=db)
        assert keeping.Keeping.note_settings(keeper, {"model": "a", "threshold": 0.7}) == {"threshold": 0.5} and db.saved(
            "door"
        )
        assert keeping.Keeping.note_settings(keeper, {"model": "b", "threshold": 0.7}) == {"model": "a"}
        assert db.saved("door") is None and db.saved("film") and db.settings()["model"] == "b"


def test_an_alarm_of_a_live_camera_that_goes_on_after_a_kill_can_be_told(tmp_path):
    """Its snippets had NumPy's numbers, which JSON has not: the first alarm ended the watch."""
    with journal.opened(tmp_path / "events.db") as db:
        with db.turn():
            db.stream("s", "door", began=1.0)
            db.state("door", "s", 3, {"timings": np.zeros((0, 4)), "alarm": State().to_json()})
            db.score_rows("door", "s", [Row(number, 0.5 * number, 1.0, 0.1, -2.0, 1, False) for number in range(6)])
        door, streams = Watched(Camera("door", "rtsp://h", True)), SimpleNamespace(restore=lambda *_: None)
        raising = SimpleNamespace(ring=lambda: None, recall=lambda *_: None)
        keeper = SimpleNamespace(journal=db, streams=streams, raising=raising, known=lambda _: True, told=[])
        keeper.end_lasting = lambda *_, **__: None
        assert keeping.Keeping.resume(keeper, door) and door.position == 6
        begins = Told("door", beginning(Seen(door.position, 3.0, 3.5, 4.0, 0.9, 1), "door", "s"), "begins")
        assert json.loads(json.dumps(message_of(begins)))["first"] == 6


def test_another_source_or_a_damaged_state_begins_anew_and_says_so(tmp_path):
    with journal.opened(tmp_path / "events.db") as db:
        for name in ("door", "yard", "gate"):
            db.camera(name, f"rtsp://{name}")
            db.state(name, "s", 3, {"timings": np.zeros((0, 4)), "alarm": State().to_json()})
        db.write("UPDATE states SET state = x'00' WHERE camera = 'gate'", [()])
        told, added = [], []
        keeper = SimpleNamespace(journal=db, before={}, files=set(), finished=set())
        keeper.happened = lambda watched, what: told.append(what)
        keeper.streams = SimpleNamespace(add=added.append, restore=lambda *_: None)
        keeper.raising = SimpleNamespace(ring=lambda: None, recall=lambda *_: None, rule=None)
        keeper.known, keeper.end_lasting = partial(keeping.Keeping.known, keeper), lambda *_, **__: None
        for name, source in (("door", "rtsp://me:new@door"), ("yard", "rtsp://door"), ("gate", "rtsp://gate")):
            db.camera("door", "rtsp://***@door")
            assert keeping.Keeping.resume(keeper, Watched(Camera(name, source, True)))
        assert added == ["yard", "gate"] and [what.kind for what in told] == ["anew", "anew"]
        assert told[0].text == "its source was rtsp://yard before" and "state of 'gate' is damaged" in told[1].text


def test_alarms_that_are_old_and_have_ended_go_with_their_files(tmp_path):
    now = time.time()
    with journal.opened(tmp_path / "events.db") as db:
        for first, end, age in ((1, 2.0, 3), (2, None, 3), (3, 4.0, 1), (4, 5.0, 3), (5, 6.0, 3)):
            ended = end and now - age * journal.DAY
            alarm = Alarm("door", f"s{first}", first, 1.0, 1.0, end, 1.0, 1.0, ended, 0.9, 1)
            db.alarm(alarm, raised_at=1.0, picture=f"{first}.jpg", clip=f"{first}.mp4")
            db.stream(f"s{first}", "door", began=now - age * journal.DAY)
            (tmp_path / f"{first}.jpg").touch()
        (tmp_path / "4.mp4").mkdir()  # which cannot be removed
        keeper = SimpleNamespace(keep_days=2.0, looked_at=-np.inf, journal=db, told=[], writing=db.turn)
        keeper.raising, keeper.note = SimpleNamespace(folder=tmp_path), lambda name, what: keeper.told.append(what.text)
        keeping.Keeping.forget_old(keeper)
        assert [raised.alarm.first for raised in db.alarms()] == [2, 3, 4, 5] == [int(stream.id[1]) for stream in db.streams()]
        assert not (tmp_path / "1.jpg").exists() and (tmp_path / "2.jpg").exists() and (tmp_path / "3.jpg").exists()
        assert "4.mp4" in keeper.told[0] and "it is kept" in keeper.told[0]
        keeping.Keeping.forget_old(keeper)
        assert len(keeper.told) == 1, "once an hour"
        db.stream("old", "door", began=now - 2 * journal.DAY)
        keeper.keep_days, keeper.looked_at = None, -np.inf
        keeping.Keeping.forget_old(keeper)
        assert len(db.alarms()) == 4 and "old" not in {stream.id for stream in db.streams()}


def test_a_clock_that_leaps_takes_few_alarms_and_never_the_last(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "FORGOTTEN_AT_ONCE", 3)
    with journal.opened(tmp_path / "events.db") as db:
        for first in range(5):
            db.alarm(Alarm("door", "s", first, 1.0, 1.0, 2.0, 1.0, 1.0, 5.0 - first, 0.9, 1), raised_at=1.0)
        oldest = db.old_alarms(1e12, now=1e12)
        assert [id for id, *_ in oldest] == [raised.alarm.id for raised in db.alarms()][3:0:-1]
        db.forget_alarms([id for id, *_ in oldest])
        assert len(db.old_alarms(1e12, now=1e12)) == 1
        for first in range(5, 50):
            db.alarm(Alarm("door", "s", first, 1.0, 1.0, 2.0, 1.0, 1.0, 5.0, 0.9, 1), raised_at=1e12 - 9)
        assert len(db.old_alarms(1e12, now=1e12)) == 46, "more than are raised an hour, else they grow"


def test_a_file_that_fails_midway_ends_its_alarm_once(watch, monkeypatch, tmp_path):
    def breaks(frames, *what):
        yield from islice(cut(frames, *what), 9)
        raise OSError("the disk is gone")

    cut = readers.cut
    monkeypatch.setattr(readers, "cut", breaks)
    done = watch(write_video(tmp_path / "long.mp4", scenes(160, 0)), "--threshold", 0.001)
    assert done.code == 2 and done.out.count("ALARM since") == done.out.count("alarm ended") == 1, done
    with journal.opened(tmp_path / "out/events.db") as db:
        assert [raised.alarm.end is None for raised in db.alarms()] == [False]


def test_an_alarm_that_goes_on_lasted_as_far_as_its_scores_are_known(tmp_path):
    """A live camera's state is saved every 30 s, its scores with every turn."""
    raising = Raising(None, Rule(0.5, 0.3, 1, 2), tmp_path, 0.5)
    door, ones = Watched(Camera("door", "rtsp://h", True), "s"), np.ones(4)
    known = Row(np.arange(4), np.arange(4) / 2, 100 + np.arange(4) / 2, np.array([0.9, 0.4, 0.8, 0.2]), ones, ones, ones)
    for began, end, wall_end in ((0.5, 1.5, 101.5), (9.0, 9.0, 109.0)):
        door.alarm = State(Alarm("door", "s", 0, 0.0, 0.0, None, 100.0, 100.0, None, 0.9, 1), True, 1, 0, began, 100 + began)
        raising.recall(door, known)
        assert (door.alarm.end, door.alarm.wall_end) == (end, wall_end)


def test_a_journal_without_one_of_its_tables_is_damaged_and_one_of_before_there_were_settings_is_whole(tmp_path):
    for name, words in (("settings", None), ("alarms", r"events\.db: damaged \(no such table: alarms\)")):
        path = tmp_path / name / "events.db"
        path.parent.mkdir()
        with journal.opened(path) as db:
            db.db.execute(f"DROP TABLE {name}")
        with pytest.raises(ValueError, match=words) if words else nullcontext(), journal.opened(path) as db:
            assert db.settings() == {}


def test_an_alarm_whose_picture_cannot_be_written_is_raised_all_the_same_and_that_is_said(watch, video, monkeypatch):
    def full(path):
        raise OSError(f"{path}: not written (No space left on device)")

    monkeypatch.setattr(evidence, "replacing", full)
    done = watch(video, "--threshold", 0.001)
    assert done.code == 0 and "ALARM since 0:00" in done.out and "1 of 1 files are watched, 1 alarm" in done.out, done
    assert "door: picture: " in done.out and "door: clip: " in done.out and done.out.count("No space left") >= 2


def test_what_a_checkpoint_says_that_a_watch_cannot_do_is_said_or_refused():
    options = SimpleNamespace(precision="fp32", smooth="slide")
    said = setting.scored_otherwise(SimpleNamespace(options=options, trained={"precision": "bf16", "crops": "mean"}))
    assert "in fp32, not bf16; smoothed as causal, not slide; of the centre crop" in said
    plain = SimpleNamespace(options=SimpleNamespace(precision="fp32", smooth="causal"), trained={"precision": "fp32"})
    assert setting.scored_otherwise(plain) == ""
    args = SimpleNamespace(threshold=None, model_path="best.pt")
    with pytest.raises(ValueError, match=r"its threshold is 'high'.*--threshold"):
        setting.rule_of(args, SimpleNamespace(video_threshold="high"), 0.5)


def test_an_mp4_that_a_server_gives_only_as_a_whole_is_explained(video):
    content = video.read_bytes()
    index = content.find(b"moov") - 4
    free = (2**20).to_bytes(4, "big") + b"free" + bytes(2**20 - 8)  # farther away than what is read ahead
    content = content[:index] + free + content[index:]

    class Whole(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Whole) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        (camera,) = cameras_of([f"HTTP://me:hush@127.0.0.1:{server.server_port}/door.mp4"])
        made = SimpleNamespace(how=SimpleNamespace(by="frames", snippet_seconds=0.5, places=[0]), rule=None)
        made.encoder = SimpleNamespace(name="tiny")
        with pytest.raises(ValueError, match=r"index is at its end.*faststart") as raised:
            list(setting.described(made, [camera]))
        server.shutdown()
    assert "hush" not in str(raised.value)


def test_a_leap_of_the_clock_does_not_take_what_happened(tmp_path):
    with journal.opened(tmp_path / "events.db") as db:
        for wall in (*range(10), 10**10):
            db.happened("door", float(wall), "opened")
        assert len(db.happenings()) == 9


def test_a_closed_stdout_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with exit_codes():
        pass
