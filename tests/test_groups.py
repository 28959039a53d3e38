"""Cameras in groups on many machines: what they see is gathered once, whatever is lost; here the machines are threads."""
# ruff: noqa: F811 (fixtures of another file)

import json
import socket
import threading
import time
from contextlib import nullcontext
from functools import partial
from itertools import count
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import call, refused, write_list

from running import cluster
from watching import cameras, clock, gathering, journal, keeping, raising, readers, spread, watcher
from watching.alarms import Alarm
from watching.cameras import Camera
from watching.gathering import Call, Recorded, calls_after, gathered
from watching.group import Group, assigned, require_shared
from watching.journal import Row
from watching.outbox import Outbox
from watching.spread import Spread

pytest.importorskip("av")
from test_watch import FRAMES, content, same, scenes, there, undisturbed, write_video  # noqa: F401

ALARM = Alarm("door", "s", 3, 1.5, 2.0, None, None, None, None, 0.9, 2)
ENDED = ALARM._replace(end=4.0)


def test_a_camera_stays_in_its_group_and_a_new_one_goes_to_the_smallest():
    assert assigned("abcde", {}, 2) == {"a": 0, "b": 1, "c": 0, "d": 1, "e": 0}
    assert assigned("bxy", {"a": 0, "b": 1}, 2) == {"b": 1, "x": 0, "y": 0}
    assert assigned("by", {"a": 0, "b": 4}, 1) == {"b": 4, "y": 0}, "its state lies in the folder of group 4"


def test_what_one_machine_alone_can_watch_is_refused():
    require_shared([Camera("door", "rtsp://h/x", True), Camera("film", "film.mp4", False)])
    with pytest.raises(ValueError, match=r"/dev/video0 is of one machine alone"):
        require_shared([Camera("desk", "/dev/video0", True)])


def gather(path, *calls):
    """Write the calls in a turn of a journal; what is news, as words, and all alarms."""
    with journal.opened(path / "events.db") as db:
        with db.turn():
            told = [one for of in calls for one in gathered(db, of)]
        return [one.news or one.what.kind for one in told], [raised.alarm for raised in db.alarms()]


def alarm(of, **how):
    return Call("alarm", [list(of)], {"raised_at": 1.0} | how)


def test_what_is_gathered_twice_is_written_once_and_told_once(tmp_path):
    begins, rises, ends = alarm(ALARM, picture="x.jpg"), alarm(ALARM._replace(score=0.95)), alarm(ENDED._replace(score=0.95))
    opened = Call("happened", ["door", 5.0, "opened", "h264"], {})
    calls = [
        Call("camera", ["door", "x.mp4"], {}),
        opened,
        begins,
        rises,
        ends,
        alarm(ENDED._replace(score=0.95), clip="x.mp4"),
    ]
    expected = [ENDED._replace(score=0.95)]
    assert gather(tmp_path, *calls) == (["opened", "begins", "rises", "ends"], expected)
    assert gather(tmp_path, *calls) == ([], expected)
    assert gather(tmp_path, begins) == ([], expected), "who goes on from before it ended does not begin it again"
    with journal.opened(tmp_path / "events.db") as db:
        (raised,) = db.alarms()
        assert raised[2:] == ("x.jpg", "x.mp4") and len(db.happenings()) == 1


def test_what_a_group_writes_waits_until_it_is_taken(tmp_path):
    row = Row(7, 3.5, None, 0.25, -1.0, 2, True)
    with journal.opened(tmp_path / "events.db") as plain:
        db = Recorded(plain.db, plain.path)
        with pytest.raises(ZeroDivisionError), db.turn():
            db.happened("door", 1.0, "lost", "x")
            raise ZeroDivisionError  # nothing of a turn that fails waits
        with db.turn():
            db.stream("s", "door", fps=30.0)
            db.score_rows("door", "s", [row])
            db.alarm(ALARM, raised_at=2.0)
            db.finished("s")
        numbers, calls = zip(*calls_after(db.path, 0), strict=True)
        assert [of.name for of in calls] == ["stream", "score_rows", "alarm", "finished"]
        assert calls_after(db.path, numbers[1]) == [*zip(numbers, calls, strict=True)][2:]
        db.taken = numbers[2]
        with db.turn():
            pass
        assert [number for number, _ in calls_after(db.path, 0)] == [numbers[3]]
        (tmp_path / "all").mkdir()
        assert gather(tmp_path / "all", *calls) == (["begins"], [ALARM])
        with journal.opened(tmp_path / "all" / "events.db") as other:
            assert other.streams() == db.streams() and other.streams()[0].finished
            (kept,) = zip(*other.scores("door", "s")._replace(wall=[None]), strict=True)
            assert kept == row


METHODS = ("news", "picture", "watch", "stop")


class Failed(Exception):
    """What Ray raises where a watcher does; `cause` is what."""

    def __init__(self, cause):
        self.cause = cause


class Request:
    """A call of a watcher, made at once."""

    def __init__(self, method, what, answers):
        self.answers, self.error = answers, None
        try:
            self.answer = method(*what) if answers else None
        except ValueError as error:
            self.error = Failed(error)


class Machines:
    """Ray, as far as it is used: a watcher is an object of this process, and a machine is lost when it answers no more."""

    exceptions = SimpleNamespace(RayError=Failed, RayTaskError=Failed)

    def __init__(self, n):
        self.names, self.silent, self.placed = [f"machine{i}" for i in range(n)], set(), []

    def nodes(self):
        facts = {"Alive": True, "Resources": {"CPU": 1.0}}
        return [facts | {"NodeID": name, "NodeManagerAddress": name} for name in self.names]

    def remote(self, kind):
        def start(machine, *what, **how):
            self.placed.append((machine, [camera.name for camera in what[1]]))
            made = kind(*what, **how)
            return SimpleNamespace(**{name: self.asking(machine, getattr(made, name)) for name in METHODS})

        return SimpleNamespace(options=lambda machine: SimpleNamespace(remote=partial(start, machine)))

    def asking(self, machine, method):
        return SimpleNamespace(remote=lambda *what: Request(method, what, machine not in self.silent))

    def wait(self, requests, **_):
        return [request for request in requests if request.answers], []

    def get(self, request, timeout=None):
        if request.error:
            raise request.error
        if not request.answers:
            raise Failed(f"no answer in {timeout} s")
        return request.answer

    def kill(self, watcher):
        pass


@pytest.fixture
def machines(monkeypatch):
    """Two machines, which --ray finds."""
    ray = Machines(2)
    monkeypatch.setattr(cluster, "connected", lambda address: nullcontext(ray))
    monkeypatch.setattr(spread, "needs", lambda args, machine, reserved: {"machine": machine})
    for module, name, value in ((spread, "EVERY", 0.05), (spread, "SILENT", 0.5), (spread, "SETTLING", 2.5)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(watcher, "UNASKED", 1.0)
    return ray


@pytest.fixture
def watch(there, machines, tmp_path):
    """watch(sources, *flags) -> what watch.py did on the two machines; its folder is tmp_path / out."""
    return lambda *arguments: call("watch.py", *arguments, *there.flags, "--out-dir", tmp_path / "out", "--ray", "head:1")


def test_groups_see_what_one_watch_sees_and_the_same_command_knows_them(there, undisturbed, watch, machines, tmp_path):
    done = watch(there.videos, "--save-scores", "--report", "--json")
    assert done.code == 0 and "3 of 3 files are watched" in done.err and "2 groups" in done.err, done
    same(undisturbed, tmp_path / "out")
    assert sorted(machines.placed) == [("machine0", ["long", "short"]), ("machine1", ["one"])]
    told = [json.loads(line) for line in done.out.splitlines()]
    ends = [one["id"] for one in told if one.get("news") == "ends"]
    assert len(set(ends)) == len(ends) == len(content(undisturbed)[1])
    assert all((tmp_path / "out" / name).exists() for name in ("report.html", "scores.npz"))
    again = watch(there.videos)
    assert again.code == 0 and again.out.count("watched to its end already") == 3 and len(machines.placed) == 2, again


def test_cameras_of_a_machine_that_is_silent_are_watched_elsewhere(there, undisturbed, watch, machines, tmp_path, monkeypatch):
    take, seen = gathering.gathered, []

    def falls_silent(db, of):
        if of.name == "score_rows" and not seen:
            seen.append(of.what[0])
            machines.silent = {machine for machine, names in machines.placed if of.what[0] in names}
        return take(db, of)

    monkeypatch.setattr(spread, "gathered", falls_silent)
    for module in (gathering, spread):  # else one answer may bring all it had, and nobody would miss it
        monkeypatch.setattr(module, "AT_ONCE", 3)
    done = watch(there.videos)
    assert done.code == 0 and "no answer from" in done.out and "watched again: on " in done.out, done
    same(undisturbed, tmp_path / "out")
    assert len(machines.placed) == 3 and machines.placed[2][0] not in machines.silent


def test_a_live_camera_goes_on_with_its_memory_in_its_group(there, watch, tmp_path, monkeypatch):
    monkeypatch.setattr(cameras, "cameras_of", lambda sources: [Camera("door", str(there.videos / "long.mp4"), True)])
    for module, name, value in ((readers, "WAITING", 99), (readers, "FIRST_PAUSE", 60.0), (clock, "AHEAD", np.inf)):
        monkeypatch.setattr(module, name, value)
    hear, put, quiet = Spread.hear, readers.Reader.put, threading.Event()

    def stops(self, group):
        hear(self, group)
        if quiet.is_set():
            self.stopped.set()

    def falls_silent(self, what):  # not lost, which would end its stream
        if getattr(what, "kind", "") != "lost":
            return put(self, what)
        while self.n_waiting:
            time.sleep(0.01)
        quiet.set()
        self.stopped.wait()

    monkeypatch.setattr(Spread, "hear", stops)
    monkeypatch.setattr(readers.Reader, "put", falls_silent)
    for n_scores in (12, 28):  # of 14 and 28 whole snippets
        quiet.clear()
        done = watch("whatever", "--duration", 60.0)
        assert done.code == 0 and "1 camera, " in done.out and "never opened" not in done.out, done
        with journal.opened(tmp_path / "out" / "events.db") as db:
            (stream,) = db.streams()
            np.testing.assert_array_equal(db.scores("door", stream.id).number, np.arange(n_scores))
            if n_scores == 12:
                assert "score 0.97" not in done.out
                db.alarm(ALARM._replace(stream=stream.id, score=0.97), raised_at=1.0)  # as killed before it was told
    assert "door: ALARM since 0:01, score 0.97 at 0:02" in done.out, done


def test_a_camera_that_leaves_while_its_group_has_no_watcher_has_no_alarm_that_lasts(tmp_path):
    """Those of this watch stayed on for ever: only an earlier one's were ended."""
    told = []
    with journal.opened(tmp_path / "events.db") as db:
        db.camera("door", "rtsp://door")
        db.alarm(ALARM, raised_at=2.0)
        raises = raising.Raising(db, None, tmp_path, 0.5)
        all_of = object.__new__(Spread)
        vars(all_of).update(journal=db, raising=raises, lasted={}, told=told, watched={}, groups={}, numbers={"yard": 7})
        vars(all_of).update(ray=SimpleNamespace(kill=lambda _: None), avoided={}, stopped=threading.Event())
        vars(all_of).update(outbox=Outbox(db, []), announce=lambda _: None)
        assert all_of.absent() == ["door"]
        all_of.let_go(SimpleNamespace(camera=Camera("door", "rtsp://door", True)))
        assert not db.lasting() and not all_of.absent() and [one.news or one.what.kind for one in told] == ["ends", "gone"]
        db.camera("yard", "rtsp://yard")
        group = Group(7, watcher="lost before it could tell", lost_at=1.0)
        all_of.lose(group, "")
        assert not all_of.absent() and db.happenings()[-1][2] == "gone" and group.watcher is None


def test_a_list_may_be_edited_while_groups_watch(there, machines, tmp_path, monkeypatch):
    monkeypatch.setattr("watching.roster.EDITED_EVERY", 0.1)
    path, late = tmp_path / "cameras.csv", write_video(tmp_path / "late.mp4", scenes(100, 5))
    rows = [(name, there.videos / f"{name}.mp4") for name in FRAMES]
    write_list(path, rows, ("name", "source"))
    take = Spread.end

    def edits(self, over):
        take(self, over)
        if over and "late" not in path.read_text():
            write_list(path, [*rows, ("late", late)], ("name", "source"))
            assert self.edited() is None  # it may still be being written
            time.sleep(0.3)

    monkeypatch.setattr(Spread, "end", edits)
    done = call("watch.py", path, *there.flags, "--out-dir", tmp_path / "out", "--ray", "head:1")
    assert done.code == 0 and "4 of 4 files are watched" in done.out and len(machines.placed) == 2, done


def test_flags_and_folders_that_do_not_go_with_a_cluster_are_refused(there, watch, undisturbed, tmp_path):
    for flags, words in (
        (["--groups", 3], ["the cluster at head:1 has room for 2 of 3"]),
        (["--cores", 2], ["--cores 2", "no machine of the cluster"]),
    ):
        refused(watch(there.videos, *flags), *words)
    refused(call("watch.py", there.videos, *there.flags, "--groups", 2), "--groups would be ignored without --ray")
    refused(call("watch.py", there.videos, *there.flags, "--ray", "h:1", "--out-dir", undisturbed), "of a watch without --ray")
    assert not (tmp_path / "out").exists()
    assert watch(there.videos / "one.mp4").code == 0
    done = call("watch.py", there.videos, *there.flags, "--out-dir", tmp_path / "out")
    refused(done, "of a watch in groups, by --ray", "choose another")


def test_a_group_that_cannot_begin_is_told_and_nothing_is_watched(there, watch, tmp_path, monkeypatch):
    models = map(str, count())
    monkeypatch.setattr(keeping.Setting, "kept", lambda _: {"model": next(models)})
    done = watch(there.videos)
    assert done.code == 2 and "is not here as where --ray is given" in done.err, done


def test_what_is_no_cluster_is_not_waited_for(monkeypatch):
    """Redis has the same port, and Ray asked it for ten minutes."""
    monkeypatch.setattr(cluster, "ANSWERING", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(OSError, match="something else"):
        cluster.require_answer(f"127.0.0.1:{silent.getsockname()[1]}")
