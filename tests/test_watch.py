"""Watching: a file's scores are those of the file extracted and tested, whatever is beside it and whenever it is killed."""

import json
import os
import signal
import threading
import time
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import WIDTH, call, make_model, refused

from evaluation.scores_file import read_record
from video.encoders import ENCODERS, encoder
from watching import cameras, clock, engine, evidence, journal, keeping, raising, readers, roster, telling
from watching.alarms import Alarm, State
from watching.cameras import Camera
from watching.watched import Watched

av = pytest.importorskip("av")
FRAMES = {"long": 230, "short": 100, "one": 7}
BRIGHT = 250.0  # a picture that is brighter has no finite vector


def tiny(weights, device):
    """The colours of four by four fields, through a fixed matrix."""
    matrix = torch.from_numpy(np.random.default_rng(0).standard_normal((48, WIDTH)).astype(np.float32))

    def vectors(pixels):
        fields = torch.nn.functional.avg_pool2d(pixels.contiguous(), 56).flatten(1)
        values = (fields - 127) / 64 @ matrix
        return torch.where(fields.mean(1, keepdim=True) > BRIGHT, torch.inf, values)

    return encoder("efficientnet-lite0", WIDTH, {"matrix": matrix}, vectors, device, at_once=4)


def write_video(path, pictures):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", 30)
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return path


def scenes(n_frames, seed):
    """Coloured fields that change every 20 frames."""
    rng = np.random.default_rng(seed)
    fields = [
        np.kron(rng.integers(0, 230, (4, 4, 3)), np.ones((12, 16, 1))).astype(np.uint8) for _ in range(n_frames // 20 + 1)
    ]
    return [fields[n // 20] for n in range(n_frames)]


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """Three videos, a checkpoint, and what a test says of them."""
    path = tmp_path_factory.mktemp("watch")
    (path / "videos").mkdir()
    for i, (name, n_frames) in enumerate(FRAMES.items()):
        write_video(path / "videos" / f"{name}.mp4", scenes(n_frames, i))
    torch.save(make_model(layers=2).state_dict(), path / "model.pt")
    before, ENCODERS["efficientnet-lite0"] = ENCODERS["efficientnet-lite0"], tiny
    flags = ["--model-path", path / "model.pt", "--device", "cpu"]
    for done in (
        call("extract.py", path / "videos", "--out", path / "features", "--device", "cpu"),
        call("predict.py", path / "features", *flags, "--smooth", "causal", "--workers", 0, "--out-dir", path / "tested"),
    ):
        assert done.code == 0, done.err
    record = read_record(path / "tested" / "scores.npz")
    ends = np.cumsum([video.n_snippets for video in record.scores.videos])[:-1]
    parts = np.split(record.scores.scores, ends)
    tested = {video.name: part for video, part in zip(record.scores.videos, parts, strict=True)}
    threshold = float(np.quantile(tested["long"], 0.6))
    flags += ["--threshold", threshold, "--pause", 0.6, "--off-share", 0.99]
    yield SimpleNamespace(path=path, videos=path / "videos", flags=flags, tested=tested)
    ENCODERS["efficientnet-lite0"] = before


@pytest.fixture
def watch(there, tmp_path):
    """watch(sources, *flags) -> what watch.py did; its folder is tmp_path / out."""
    return lambda *arguments: call("watch.py", *arguments, *there.flags, "--out-dir", tmp_path / "out")


def content(folder):
    """Of an events.db: scores by name, and all of alarms that does not say when they were raised."""
    with journal.opened(folder / "events.db") as db:
        scores = {stream.camera: db.scores(stream.camera, stream.id) for stream in db.streams()}
        alarms = sorted((*raised.alarm, raised.picture, raised.clip) for raised in db.alarms())
        return scores, alarms, {stream.camera: stream.finished for stream in db.streams()}


def same(folder, other):
    (scores, alarms, finished), (scores2, alarms2, finished2) = content(folder), content(other)
    assert scores.keys() == scores2.keys() and finished == finished2
    for name, rows in scores.items():
        np.testing.assert_array_equal(rows.number, scores2[name].number)
        np.testing.assert_allclose(rows.score, scores2[name].score, rtol=0, atol=1e-5)
    assert [alarm[:4] + alarm[-2:] for alarm in alarms] == [alarm[:4] + alarm[-2:] for alarm in alarms2] and alarms
    assert sorted(os.listdir(folder / "alarms")) == sorted(os.listdir(other / "alarms"))


@pytest.fixture(scope="module")
def undisturbed(there):
    done = call("watch.py", there.videos, *there.flags, "--out-dir", there.path / "whole", "--save-scores")
    assert done.code == 0, done.err
    return there.path / "whole"


def test_a_file_scores_as_the_same_file_extracted_and_tested(there, undisturbed, watch, tmp_path, monkeypatch):
    record = read_record(undisturbed / "scores.npz").scores
    parts = np.split(record.scores, np.cumsum([video.n_snippets for video in record.videos])[:-1])
    assert {video.name: video.n_frames for video in record.videos} == FRAMES
    for video, part in zip(record.videos, parts, strict=True):
        np.testing.assert_allclose(part, there.tested[video.name], rtol=0, atol=1e-5)
    for of, name, value in ((engine, "PICTURES_AT_ONCE", 1), (roster, "FILES_AT_ONCE", 2)):  # in another order
        monkeypatch.setattr(of, name, value)
    assert watch(there.videos).code == 0
    same(undisturbed, tmp_path / "out")
    assert call("watch.py", there.videos / "long.mp4", *there.flags, "--out-dir", tmp_path / "alone").code == 0
    with journal.opened(tmp_path / "alone" / "events.db") as db:  # and alone
        (stream,) = db.streams()
        np.testing.assert_allclose(db.scores("long", stream.id).score, there.tested["long"], rtol=0, atol=1e-5)


def test_a_model_outside_python_watches_as_the_checkpoint(there, undisturbed, tmp_path):
    for package in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package)
    done = call("export.py", there.path / "model.pt", "--out", tmp_path / "model.onnx")
    assert done.code == 0, done.err
    flags = [tmp_path / "model.onnx" if flag == there.path / "model.pt" else flag for flag in there.flags]
    done = call("watch.py", there.videos, *flags, "--out-dir", tmp_path / "out")
    assert done.code == 0, done.err
    (scores, alarms, _), (expected, others, _) = content(tmp_path / "out"), content(undisturbed)
    for name, rows in expected.items():
        np.testing.assert_allclose(scores[name].score, rows.score, rtol=0, atol=1e-5)
    raised = [[Alarm(*alarm[:-2])._replace(stream="", score=0) for alarm in found] for found in (alarms, others)]
    assert raised[0] == raised[1] != []  # a stream's name has the model's in it


def test_an_alarm_is_in_the_journal_with_its_picture_and_clip(undisturbed):
    _, alarms, finished = content(undisturbed)
    assert alarms and all(finished.values())
    for *_, picture, clip in alarms:
        assert (undisturbed / "alarms" / picture).stat().st_size and (undisturbed / "alarms" / clip).stat().st_size
    assert all(alarm[5] is not None for alarm in alarms), "each has ended"


class Killed(Exception):
    pass


@pytest.mark.parametrize("n_turns", [3, 5])
def test_killed_and_started_again_nothing_is_lost_or_doubled(there, undisturbed, watch, tmp_path, monkeypatch, n_turns):
    turn, left = engine.Watch.turn, [n_turns]

    def dies(self, brought):
        takes = any(isinstance(what, readers.Taken) for _, items in brought for what in items)
        left[0] -= takes
        if takes and not left[0]:
            self.whole = False  # as killed: what is in memory is lost, and a clip half-written
            (tmp_path / "out" / "alarms" / ".long-1.mp4.1.tmp").touch()
            raise Killed
        turn(self, brought)

    monkeypatch.setattr(engine, "PICTURES_AT_ONCE", 32)
    for module in (keeping, engine):
        monkeypatch.setattr(module, "SAVED_EVERY", {False: 0.0})
    monkeypatch.setattr(engine.Watch, "turn", dies)
    with pytest.raises(Killed):
        watch(there.videos)
    with journal.opened(tmp_path / "out" / "events.db") as db:
        begun = [db.saved(name) for name in FRAMES]
    assert any(saved and saved.position for saved in begun), "it goes on, and does not begin anew"
    assert watch(there.videos).code == 0
    same(undisturbed, tmp_path / "out")


def test_asked_to_stop_it_saves_and_the_same_command_goes_on(there, undisturbed, watch, tmp_path, monkeypatch):
    told = engine.Watch.happened

    def stop(self, watched, what):
        told(self, watched, what)
        os.kill(os.getpid(), signal.SIGTERM)  # in the midst of a turn

    monkeypatch.setattr(engine.Watch, "happened", stop)
    done = watch(there.videos)
    assert done.code == 130 and "of 3 files are watched" in done.err and "3 of 3" not in done.err and "goes on" in done.err, (
        done
    )
    with journal.opened(tmp_path / "out" / "events.db") as db:
        finished = {stream.camera for stream in db.streams() if stream.finished}
        assert all(db.saved(name) for name in FRAMES.keys() - finished) and db.happenings()
    monkeypatch.setattr(engine.Watch, "happened", told)
    assert watch(there.videos).code == 0
    same(undisturbed, tmp_path / "out")
    again = watch(there.videos)
    assert again.code == 0 and again.out.count("watched to its end already") == 3 and "3 of 3 files" in again.out


def test_stopped_while_clips_wait_it_ends_soon_and_makes_them_later(there, undisturbed, watch, tmp_path, monkeypatch):
    """All clips were waited for before any state was saved, in the transaction that others wait for."""
    write, submit = evidence.Clip.write, raising.Raising.write_clip

    def slow(self, path):
        time.sleep(0.3)
        return write(self, path)

    def stop(self, *what):
        yield from submit(self, *what)
        os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as once:
        once.setattr(evidence.Clip, "write", slow)
        once.setattr(raising.Raising, "write_clip", stop)
        once.setattr(engine, "CLIPS", 0.01)
        done = watch(there.videos)
    assert done.code == 130 and "goes on" in done.err, done
    assert watch(there.videos).code == 0
    same(undisturbed, tmp_path / "out")


def test_of_live_cameras_no_more_clips_wait_than_there_is_memory_for(tmp_path, monkeypatch):
    monkeypatch.setattr(raising, "CLIPS_WAITING", 2)
    goes_on = threading.Event()
    clip = SimpleNamespace(write=lambda path: goes_on.wait() and None)
    alarm = Alarm("door", "s", 3, 1.5, 2.0, 4.0, None, None, None, 0.9, 2)
    live, film = (SimpleNamespace(camera=Camera("door", "x", is_live), clips=[]) for is_live in (True, False))
    with journal.opened(tmp_path / "events.db") as db:
        raised = raising.Raising(db, None, tmp_path, 0.5)
        told = [list(raised.write_clip(watched, alarm, clip)) for watched in (live, live, live, film)]
        assert (len(live.clips), len(film.clips)) == (2, 1) and [len(of) for of in told] == [0, 0, 1, 0]
        assert "not made, for 2 others wait" in told[2][0].what.text and db.happenings()[0][2] == "clip"
        for written, _ in live.clips[1:]:
            written.cancel()
        goes_on.set()
        raised.writer.shutdown()
        assert ["stopped before" in said.text for said in raised.clips_written(live)] == [True] and not live.clips


def test_a_file_whose_clip_is_on_its_way_is_saved_where_it_leaves_the_list():
    """Else, were it killed, the clip is made again; but what has left is not asked again."""
    saved = []
    keeper = SimpleNamespace(clips_written=lambda one: None, news_of=lambda one: False, told=[], leaving=[])
    keeper.journal = SimpleNamespace(state=lambda name, stream, *what: saved.append(stream))
    keeper.streams = SimpleNamespace(state=lambda name: {}, cameras=[])
    keeper.raising, keeper.happened = SimpleNamespace(finish=lambda one: []), lambda *what: None
    keeper.keep = partial(keeping.Keeping.keep, keeper)
    film = Watched(Camera("film", "film.mp4", False), reader=SimpleNamespace(stopped=threading.Event()))
    film.stream, film.clips, film.values = "s", ["on its way"], dict
    keeper.keep(film, 0.0)
    assert not saved
    roster.Roster.let_go(keeper, film)
    assert saved == ["s"] and keeper.leaving == [film] and film.reader.stopped.is_set()


def test_an_edit_of_the_list_in_which_somebody_stops_the_watch_is_whole(monkeypatch):
    """The cameras that had gone were saved a second time, without a memory: KeyError, and nobody's state was written."""

    @contextmanager
    def asked_to_stop():
        yield
        raise KeyboardInterrupt

    cameras = {name: Camera(name, f"rtsp://{name}", True) for name in "ab"}
    gone = []
    watched = SimpleNamespace(asked_at=-1e9, forget_old=lambda: None, leaving=[], edited=lambda: [cameras["b"]])
    watched.watched = {name: Watched(camera) for name, camera in cameras.items()}
    watched.writing, watched.let_go = asked_to_stop, lambda one: gone.append(one.camera.name)
    with pytest.raises(KeyboardInterrupt):
        roster.Roster.take_up(watched)
    assert gone == ["a"] and [*watched.watched] == ["b"]


def test_a_file_that_fails_is_listed_and_tried_again_and_the_others_are_watched(there, undisturbed, watch, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video" * 99)
    white = write_video(tmp_path / "white.mp4", [np.full((48, 64, 3), 255, np.uint8)] * 100)
    for _ in range(2):
        done = watch(there.videos, bad, white)
        refused(done, "2 of 5 sources failed", "bad: ", "white: ", "infinite")
        assert "3 of 5 files are watched" in done.out
    finished = content(tmp_path / "out")[2]
    assert [name for name, whole in finished.items() if not whole] == ["white"]
    with journal.opened(tmp_path / "out" / "events.db") as db:
        for name, expected in there.tested.items():
            (stream,) = (stream.id for stream in db.streams() if stream.camera == name)
            np.testing.assert_allclose(db.scores(name, stream).score, expected, rtol=0, atol=1e-5)


def test_a_program_reads_json_alone_and_scores_come_without_alarms(there, tmp_path):
    asked = ["--json", "--no-alarms", "--save-scores"]
    done = call("watch.py", there.videos, *there.flags[:4], "--out-dir", tmp_path / "out", *asked)
    assert done.code == 0, done.err
    told = map(json.loads, done.out.splitlines())
    assert {(one["kind"], one["camera"]) for one in told} == {("opened", name) for name in FRAMES}
    assert "3 of 3 files are watched, 0 alarms" in done.err and not content(tmp_path / "out")[1]
    assert sum(video.n_frames for video in read_record(tmp_path / "out" / "scores.npz").scores.videos) == sum(FRAMES.values())


def test_what_would_be_done_is_said_and_nothing_is_written(there, watch, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    done = watch(there.videos, tmp_path / "bad.mp4", "--dry-run")
    refused(done, "1 of 4 sources cannot be opened", "bad")
    assert "long: " in done.out and "64x48" in done.out and "16 frames" in done.out
    assert not (tmp_path / "out").exists()
    torch.save(make_model(window=8).state_dict(), tmp_path / "xd.pt")  # of videos of 24 frames a second
    done = call("watch.py", there.videos, "--model-path", tmp_path / "xd.pt", "--no-alarms", "--dry-run")
    assert done.code == 0 and "16 frames of a file, 0.667 s of a live source" in done.out


def test_what_does_not_fit_is_refused_before_anything_is_watched(there, watch, tmp_path, monkeypatch):
    refused(watch(tmp_path / "no.mp4"), "no.mp4", "no such file")
    (tmp_path / "long.mp4").write_bytes(b"x")
    refused(watch(there.videos, tmp_path / "long.mp4"), "both called long")
    torch.save(make_model(width=64, layers=2).state_dict(), tmp_path / "other.pt")
    done = call(
        "watch.py", there.videos, "--model-path", tmp_path / "other.pt", "--threshold", 0.5, "--out-dir", tmp_path / "out"
    )
    refused(done, "vectors of 128", "takes 64", "--encoder")
    done = call("watch.py", there.videos, "--model-path", there.path / "model.pt", "--out-dir", tmp_path / "out")
    refused(done, "no threshold", "--val-share", "calibrate", "--no-alarms")
    assert not (tmp_path / "out").exists()


def test_calibrate_finds_a_threshold_that_raises_no_more_alarms(there):
    flags = [flag for flag in there.flags if flag not in ("--threshold", there.flags[there.flags.index("--threshold") + 1])]
    done = call("watch.py", "calibrate", there.videos, *flags, "--false-alarms", 1)
    assert done.code == 0 and "0 alarms in" in done.out and "too short" in done.out, done
    threshold = float(done.out.split("--threshold ")[-1])
    assert threshold > max(scores.max() for scores in there.tested.values()) - 1e-6  # whole videos round otherwise


def test_a_live_camera_that_cannot_be_scored_begins_anew_and_one_whose_reader_breaks_is_told(
    there, watch, tmp_path, monkeypatch
):
    white = write_video(tmp_path / "white.mp4", [np.full((48, 64, 3), 255, np.uint8)] * 100)
    live = [Camera("white", str(white), True), Camera("door", str(there.videos / "long.mp4"), True), Camera("odd", "odd", True)]
    opened = readers.opened

    def breaks(source, **how):
        if source == "odd":
            raise KeyError("a mistake of ours")
        return opened(source, **how)

    monkeypatch.setattr(cameras, "cameras_of", lambda sources: live)
    for of, name, value in ((readers, "opened", breaks), (readers, "WAITING", 99), (readers, "FIRST_PAUSE", 60.0)):
        monkeypatch.setattr(of, name, value)
    monkeypatch.setattr(clock, "AHEAD", np.inf)
    tell, put, lost = keeping.Keeping.tell, readers.Reader.put, {}

    def note_the_lost(self, watched, what):
        tell(self, watched, what)
        lost.update({watched.camera.name: self} if what.kind == "lost" else {})

    def stop_when_the_others_are_lost(self, what):
        if (self.camera.name, getattr(what, "kind", "")) != ("door", "lost"):
            return put(self, what)
        while self.n_waiting or len(lost) < 2:
            self.stopped.wait(0.01)
        lost["odd"].stopped.set()

    monkeypatch.setattr(keeping.Keeping, "tell", note_the_lost)
    monkeypatch.setattr(readers.Reader, "put", stop_when_the_others_are_lost)
    done = watch("whatever", "--duration", 60.0)
    assert "1 of 3 sources failed" in done.err and "odd: never opened" in done.err
    assert "odd: lost: unexpected KeyError; next try in" in done.out, done
    assert "a mistake of ours" not in done.out + done.err, "it may hold a password"
    assert "white: anew: " in done.out and "white: lost: " in done.out and "white: failed" not in done.out
    with journal.opened(tmp_path / "out" / "events.db") as db:
        (stream,) = (stream for stream in db.streams() if stream.camera == "door")
        rows = db.scores("door", stream.id)
        saved = db.saved("door")
        lasting = State(Alarm("door", stream.id, 9, 4.8, 4.8, None, 1e9, 1e9, None, 0.9, 1), raised=True)
        db.state("door", stream.id, 14, saved.values | {"alarm": lasting.to_json()})  # as killed before it was told
    np.testing.assert_array_equal(rows.number, np.arange(12))  # 14 whole snippets, of which two wait for their clip
    assert not stream.finished and saved.position == 14 and np.isfinite(rows.wall).all()
    lost.clear()
    assert f"door: ALARM since {telling.moment(4.8, 1e9)}, score 0.90" in watch("whatever", "--duration", 60.0).out
    with journal.opened(tmp_path / "out" / "events.db") as db:  # it goes on with its memory and its numbers
        assert [stream.camera for stream in db.streams()].count("door") == 1
        np.testing.assert_array_equal(db.scores("door", stream.id).number, np.arange(28))


def lose_the_door(there, monkeypatch, *, times, pause):
    """A live door that is a film, watched until it has been lost so many times."""
    monkeypatch.setattr(cameras, "cameras_of", lambda sources: [Camera("door", str(there.videos / "long.mp4"), True)])
    monkeypatch.setattr(clock, "AHEAD", np.inf)
    for of, name, value in ((readers, "WAITING", 99), (readers, "FIRST_PAUSE", pause)):
        monkeypatch.setattr(of, name, value)
    tell, lost = keeping.Keeping.tell, []

    def stop_when_lost(self, watched, what):
        tell(self, watched, what)
        lost.extend([what] if what.kind == "lost" else [])
        if len(lost) >= times:
            self.stopped.set()

    monkeypatch.setattr(keeping.Keeping, "tell", stop_when_lost)
    return lost


def test_a_camera_that_is_lost_is_scored_to_its_last_snippet_and_its_alarm_ends_with_a_clip(
    there, watch, tmp_path, monkeypatch
):
    """Both waited until it was opened again, which is never for one that was smashed."""
    lose_the_door(there, monkeypatch, times=1, pause=60.0)
    assert watch("whatever", "--threshold", 1e-4, "--duration", 60.0).code == 0
    with journal.opened(tmp_path / "out" / "events.db") as db:
        (stream,), alarms = db.streams(), db.alarms()
        np.testing.assert_array_equal(db.scores("door", stream.id).number, np.arange(14))
    assert alarms[-1].alarm.first < 13 and all(raised.alarm.end is not None for raised in alarms)
    assert all((tmp_path / "out" / "alarms" / raised.clip).exists() for raised in alarms)


def test_a_stream_that_ends_is_scored_to_its_last_snippet_and_an_alarm_of_before_ends_where_none_are_raised(
    there, watch, tmp_path, monkeypatch
):
    lost = lose_the_door(there, monkeypatch, times=2, pause=0.01)
    assert watch("whatever", "--duration", 60.0).code == 0
    with journal.opened(tmp_path / "out" / "events.db") as db:
        first, *_ = db.streams()
        np.testing.assert_array_equal(db.scores("door", first.id).number, np.arange(14))  # two of no whole clip
        np.testing.assert_array_equal(db.scores("door", first.id, last=3).number, [11, 12, 13])
        saved = db.saved("door")
        lasting = Alarm("door", saved.stream, 9, 4.8, 4.8, None, 1e9, 1e9, None, 0.9, 1)
        db.state("door", saved.stream, 14, saved.values | {"alarm": State(lasting, raised=True).to_json()})
        db.alarm(lasting._replace(score=0.99, peak=5.3), raised_at=1e9)  # written after the state was saved
        db.alarm(lasting._replace(stream=first.id), raised_at=1e9)  # of what no state goes on with
        db.alarm(lasting._replace(camera="attic", stream="a"), raised_at=1e9)  # of a camera that is on the list no more
    lost.clear()
    flags = there.flags[: there.flags.index("--threshold")]
    done = call("watch.py", "whatever", *flags, "--no-alarms", "--duration", 60.0, "--out-dir", tmp_path / "out")
    assert done.code == 0 and "door: alarm ended: " in done.out and "ALARM since" not in done.out, done
    with journal.opened(tmp_path / "out" / "events.db") as db:
        alarms = {(alarm.camera, alarm.stream): alarm for alarm, *_ in db.alarms()}
    assert len(alarms) == 3 and all(alarm.end is not None for alarm in alarms.values())
    assert (alarms["door", saved.stream].score, alarms["door", saved.stream].peak) == (0.99, 5.3)
    assert alarms["door", first.id].end == pytest.approx(14 * 16 / 30, abs=0.1), "the end of its last score"
