"""Features of videos: whole or not there, made in one way, and every video that gives none named."""

import csv
import json
import os
import resource
import shutil
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import WIDTH, call, refused, walk

pytest.importorskip("av")
from test_decode import made

from evaluation.scores_file import read_scores
from files import origin
from files.annotations import read_frames
from files.folder import LOCK
from video import encoders, extraction, feature_folder, finding
from video.decode import opened
from video.encoders import Encoder
from video.pictures import SIZE, crops_of

ROWS, COLUMNS = 8, 16  # of the tiny encoder's picture


def columns_of(pictures):
    """(N, 224, 224, 3) -> (N, WIDTH): the grey of 8 x 16 fields."""
    n = len(pictures)
    fields = pictures.reshape(n, ROWS, 224 // ROWS, COLUMNS, 224 // COLUMNS, 3)
    return (fields.mean((2, 4, 5)) / 255).astype(np.float32).reshape(n, WIDTH)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """Both names stand for a tiny encoder, of other weights."""
    for name, digest in (("efficientnet-lite0", "a" * 64), ("clip", "b" * 64)):
        found = Encoder(name, WIDTH, digest, columns_of)
        monkeypatch.setitem(encoders.ENCODERS, name, lambda weights, device, found=found: found)


def moving(n_frames, seed=0, height=48, width=64):
    """A bright square on its way over a dark floor."""
    pictures = []
    for n in range(n_frames):
        picture = np.full((height, width, 3), 30 + 10 * seed, np.uint8)
        x = (5 * n + 7 * seed) % (width - 16)
        picture[8 + seed : 28 + seed, x : x + 16] = 220
        pictures.append(picture)
    return pictures


@pytest.fixture
def videos(tmp_path):
    """A folder of two whole videos, one in a folder of its own."""
    (tmp_path / "videos" / "Abuse").mkdir(parents=True)
    made(tmp_path / "videos" / "two.mp4", moving(16, 1))
    made(tmp_path / "videos" / "Abuse" / "one.mkv", moving(40))
    return tmp_path / "videos"


def extract(*arguments):
    return call("extract.py", *arguments, "--workers", 2, "--device", "cpu")


def rows_in(out):
    with open(out / "frames.csv", newline="") as file:
        return {row["video"]: row for row in csv.DictReader(file)}


def content(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != LOCK]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def decoders():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decoder")]


def test_bad_files_are_listed_at_the_end_and_the_others_are_done(videos, tmp_path):
    for name in "abcdefg":
        (videos / f"bad {name}.mp4").write_bytes(b"no video" * 99)
    (videos / "notes.txt").write_text("")
    (videos / ".hidden.mp4").write_text("")
    (videos / "dead.mp4").symlink_to("nowhere")
    (videos / "round.mp4").symlink_to("round.mp4")
    done = extract(videos, "--out", tmp_path / "out")
    words = [f"bad {name}.mp4: not a video" for name in "abcdefg"] + ["dead.mp4: no such file", "round.mp4: Too many levels"]
    refused(done, "9 of 11 videos gave no features; the others are done", *words)
    assert "notes.txt" in done.err and ".hidden.mp4" in done.err and "2 videos, 56 frames in" in done.out
    assert list(rows_in(tmp_path / "out")) == ["one", "two"]
    assert list(rows_in(tmp_path / "out")["one"].values()) == ["one", "40", "25", "1.600", "64", "48"]
    assert read_frames(tmp_path / "out" / "frames.csv").values.tolist() == [["one", 40], ["two", 16]]
    features = np.load(tmp_path / "out" / "Abuse" / "one__0.npy")
    with opened(str(videos / "Abuse" / "one.mkv")) as source:
        pictures = crops_of(np.stack([frame.rgb(*SIZE) for frame in source.frames()]), 1)[:, 0]
    expected = [columns_of(pictures[at : at + 16]).mean(0) for at in (0, 16, 32)]
    assert features.shape == (3, WIDTH) and features.dtype == np.float16
    np.testing.assert_allclose(features, expected, atol=1e-3)
    assert json.loads((tmp_path / "out" / "extract.json").read_text())["versions"].keys() >= {"av", "torch"}
    assert not decoders()


def test_a_finished_video_is_not_done_again_and_a_newer_one_is(videos, tmp_path):
    out = tmp_path / "out"
    extract(videos, "--out", out)
    one, two = out / "Abuse" / "one__0.npy", out / "two__0.npy"
    before = [file.stat().st_mtime_ns for file in (one, two)]
    assert "2 of 2 videos are done already" in extract(videos, "--out", out).out
    made(videos / "two.mp4", moving(33, 2))
    later = time.time() + 5
    os.utime(videos / "two.mp4", (later, later))
    done = extract(videos, "--out", out)
    assert "1 of 2 videos are done already" in done.out and "1 videos are done again" in done.out and "two.mp4" in done.out
    assert one.stat().st_mtime_ns == before[0] and len(np.load(two)) == 3 and rows_in(out)["two"]["frames"] == "33"
    extract(videos / "Abuse", "--out", out)  # from another folder it is the same video, at the same place
    assert sorted(path.name for path in out.rglob("*.npy")) == ["one__0.npy", "two__0.npy"]
    header = ",".join(origin.COLUMNS)
    for damage, said in (("video,frames\nx,1\n", "line 1: expected the header"), (f"{header}\nx,1\n", "line 2: expected 6")):
        (out / "frames.csv").write_text(damage)
        refused(extract(videos, "--out", out), f"frames.csv, {said}", "delete it")
        assert len(np.load(two)) == 3


def test_another_video_of_the_same_name_does_not_count_as_done(videos, tmp_path):
    """Of cam1.mp4 of monday and of tuesday, into one folder, the second was done already, with the first one's features."""
    out, tuesday = tmp_path / "out", tmp_path / "tuesday"
    extract(videos, "--out", out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    tuesday.mkdir()
    made(tuesday / "two.mp4", moving(40, 5))
    os.utime(tuesday / "two.mp4", (1, 1))
    refused(extract(tuesday, "--out", out), "both called two", "choose another --out")
    assert all(path.read_bytes() == content for path, content in before.items())
    (videos / "two.mp4").rename(tmp_path / "kept.mp4")  # moved, and changed there, it is the same one
    extract(tuesday, "--out", out)
    assert len(np.load(out / "two__0.npy")) == 3 and rows_in(out)["two"]["frames"] == "40"
    shutil.copy2(tmp_path / "kept.mp4", tuesday / "two.mp4")
    assert "1 videos are done again" in extract(tuesday, "--out", out).out
    assert "1 of 1 videos are done already" in extract(tuesday, "--out", out).out
    (out / "sources.json").write_text("[1]")
    refused(extract(videos, "--out", out), "sources.json: damaged", "delete it")


def test_features_that_are_not_whole_are_made_again(videos, tmp_path):
    """A file that a copy had cut counted as done for ever, since it was there."""
    out, two = tmp_path / "out", tmp_path / "out" / "two__0.npy"
    extract(videos, "--out", out)
    whole, rows = two.read_bytes(), (out / "frames.csv").read_text()

    def cut():
        two.write_bytes(whole[:-9])

    def other():
        np.save(two, np.zeros((2, WIDTH), np.float16))

    def edited():
        (out / "frames.csv").write_text("\ufeff" + rows.replace("two,16", "two,many"), encoding="utf-8")

    for damage in (cut, other, edited):
        damage()
        done = extract(videos, "--out", out)
        assert done.code == 0 and "1 of 2 videos are done already" in done.out and "not whole:\n" in done.out, done
        assert two.read_bytes() == whole and (out / "frames.csv").read_text() == rows


def test_a_video_that_changes_while_it_is_read_is_none(videos, tmp_path, monkeypatch):
    """The features of a half of a file that was still being written were newer than it, and so done."""
    growing, cut = videos / "two.mp4", extraction.cut

    def grows(frames, places):
        yield from cut(frames, places)
        os.utime(growing, (1, 1))

    monkeypatch.setattr(extraction, "cut", grows)
    done = extract(growing, "--out", tmp_path / "out")
    refused(done, "two.mp4: it changed while it was read; extract it again")
    assert not list((tmp_path / "out").rglob("*.npy"))


def die_at(moment, out, flags):
    """What `extract` does in a process that dies, as by SIGKILL, when it puts its file of this number in place."""
    replace, left = os.replace, iter(range(moment))

    def replaced(*names):
        if next(left, None) is None:
            os._exit(9)
        replace(*names)

    if (child := os.fork()) == 0:
        os.replace = replaced
        extract(*flags, "--out", out)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("newer", [False, True])
def test_killed_at_any_moment_it_goes_on_to_the_same_features(newer, videos, tmp_path):
    """Of a video that is done again the row of its earlier features stayed where the kill came between files and row."""
    flags = (videos, "--crops", 10, "--frames-per-snippet", 2)
    if newer:
        extract(*flags, "--out", tmp_path / "earlier")
        made(videos / "two.mp4", moving(33, 2))
        for path in (tmp_path / "earlier").rglob("*__*.npy"):
            os.utime(path, (1, 1))
    extract(*flags, "--out", tmp_path / "whole")
    expected = content(tmp_path / "whole")
    for moment in (1, 9, 11, 12, 22) if newer else (0, 1, 5, 11, 12, 21):
        out = tmp_path / f"killed{moment}"
        if newer:
            shutil.copytree(tmp_path / "earlier", out)
        assert die_at(moment, out, flags) == 9
        done = extract(*flags, "--out", out)
        assert done.code == 0 and content(out) == expected, moment


def test_two_ways_are_not_mixed_in_a_folder(videos, tmp_path):
    out = tmp_path / "out"
    extract(videos, "--out", out)
    before = content(out)
    refused(extract(videos, "--out", out, "--rule", "first"), "rule mean, not first", "choose another --out")
    refused(extract(videos, "--out", out, "--encoder", "clip"), "encoder efficientnet-lite0, not clip")
    refused(extract(videos, "--out", out, "--crops", 10), "crops 1, not 10")
    refused(extract(videos, "--out", out, "--by", "time", "--fps", 10), "by frames, not time")
    extract(videos, "--out", tmp_path / "first", "--rule", "first")
    assert "differ in: rule mean, not first" in call("extract.py", "compare", out, tmp_path / "first").out
    refused(extract(videos, "--out", out, "--fps", 10), "--by time alone")
    refused(extract(videos, "--out", out, "--rule", "first", "--frames-per-snippet", 2), "--rule mean alone")
    known = json.loads((out / "extract.json").read_text())
    known["versions"]["av"] = "0.1"
    (out / "extract.json").write_text(json.dumps(known))
    assert "av 0.1, now" in extract(videos, "--out", out).out
    for damage, said in (
        ("[" * 9**5, "damaged"), (json.dumps(known | {"versions": [1]}), "versions [1]"),
        (json.dumps(known | {"weights": None}), "weights None"), (json.dumps(known | {"by": "time"}), "by time, fps None"),
        ("[]", "not of extract.py"), (json.dumps(known | {"more": "x" * 2**20}), "damaged"),
    ):  # fmt: skip
        (out / "extract.json").write_text(damage)
        refused(extract(videos, "--out", out), "extract.json: ", said, "move it away")
    (out / "extract.json").unlink()
    refused(extract(videos, "--out", out), "nothing says the origin of")
    assert {name: whole for name, whole in before.items() if name != "extract.json"} == content(out)


def test_a_video_that_breaks_off_is_a_warning_or_with_strict_an_error(videos, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 48, 64, 3), np.uint8)
    whole = made(tmp_path / "cut.mp4", list(noise))
    (videos / "cut.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    done = extract(videos, "--out", tmp_path / "out")
    n = int(rows_in(tmp_path / "out")["cut"]["frames"])
    assert done.code == 0 and 0 < n < 60 and f"frames decoded: {n} of 60 by its header" in done.err, done
    assert len(np.load(tmp_path / "out" / "cut__0.npy")) == -(-n // 16)
    done = extract(videos, "--out", tmp_path / "out")
    assert "3 of 3 videos are done already" in done.out and f"there in part:\n  {videos / 'cut.mp4'}: " in done.out, done
    done = extract(videos, "--out", tmp_path / "strict", "--strict")
    refused(done, "1 of 3 videos", "cut.mp4", "of 60 by its header", "--strict")
    assert list(rows_in(tmp_path / "strict")) == ["one", "two"]
    shutil.copy(whole, videos)
    extract(videos, "--out", tmp_path / "out")
    assert "in part" not in extract(videos, "--out", tmp_path / "out").out


def test_by_time_and_ten_crops(videos, tmp_path):
    made(videos / "leap.mkv", moving(20), times=[40 * n + 50_000 * (n > 9) for n in range(20)])
    done = extract(videos, "--out", tmp_path / "out", "--by", "time", "--crops", 10)
    assert done.code == 0 and "its clock jumps 1 times" in done.err and "leap.mkv" in done.err, done
    assert {name: (row["frames"], row["fps"]) for name, row in rows_in(tmp_path / "out").items()} == {
        "leap": ("24", "30"), "one": ("48", "30"), "two": ("20", "30")
    }  # fmt: skip
    crops = [np.load(tmp_path / "out" / "Abuse" / f"one__{crop}.npy") for crop in range(10)]
    for crop in range(5):
        mirrored = crops[crop + 5].reshape(-1, ROWS, COLUMNS)[..., ::-1]
        np.testing.assert_allclose(crops[crop].reshape(-1, ROWS, COLUMNS), mirrored, atol=1e-3)
    assert len({crop.tobytes() for crop in crops}) == 10


def test_what_a_file_does_not_say_is_said():
    source = SimpleNamespace(fps_guessed=True, n_untimed=3, matrix="YCgCo", n_interlaced=7)
    for what in ("frame rate, 25 is assumed", "in YCgCo, and are read as if they were not", "interlaced frames: 7"):
        assert what in extraction.note_on(source, iter(()))
    sampled = extraction.by_time(iter(()), 30.0)
    assert "3 frames have no time" in extraction.note_on(source, sampled)
    source = SimpleNamespace(fps_guessed=False, n_untimed=0, matrix=None, n_interlaced=0)
    assert extraction.note_on(source, sampled) == ""


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_decoders_end_whatever_stops_the_run(stop, videos, tmp_path, monkeypatch):
    made(videos / "long.mp4", moving(400))

    def stops(pictures):
        raise stop

    monkeypatch.setitem(encoders.ENCODERS, "clip", lambda *_: Encoder("clip", WIDTH, "c", stops))
    if stop is KeyboardInterrupt:
        done = extract(videos, "--out", tmp_path / "out", "--encoder", "clip")
        assert done.code == 130 and "0 videos are done, the same command goes on with the 3 left" in done.err, done
    else:
        with pytest.raises(stop):
            extract(videos, "--out", tmp_path / "out", "--encoder", "clip")
    assert not decoders() and not list((tmp_path / "out").rglob("*.npy"))


def test_a_fault_of_ours_in_a_thread_is_not_lost(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "cut", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        extract(videos, "--out", tmp_path / "out")
    assert not decoders()


def test_a_full_disk_stops_the_run_and_leaves_nothing_half_written(videos, tmp_path):
    made(videos / "long.mp4", moving(320, height=32, width=32))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
    try:
        done = extract(videos, "--out", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    refused(done, "long__0.npy: not written", "File too large")
    assert not [name for name in content(tmp_path / "out") if "long" in name] and not decoders()
    assert extract(videos, "--out", tmp_path / "out").code == 0 and "long" in rows_in(tmp_path / "out")


def test_what_cannot_be_is_refused_before_work_starts(videos, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    refused(extract(videos, "--out", tmp_path / "file"), "cannot be written", "choose another --out")
    refused(extract(videos / "none", "--out", tmp_path / "out"), "no such file or folder")
    refused(extract("", "--out", tmp_path / "out"), "a source is empty")
    refused(extract(videos, "--out", ""), "names no folder of its own")
    os.mkfifo(tmp_path / "pipe.mp4")
    refused(extract(tmp_path / "pipe.mp4", "--out", tmp_path / "out"), "pipe.mp4: neither a file nor a folder")
    with monkeypatch.context() as patch:  # as in a folder of another user's

        def refuses(path, **_):
            raise PermissionError(13, "Permission denied")

        patch.setattr(finding.Path, "stat", refuses)
        refused(extract(videos / "two.mp4", "--out", tmp_path / "out"), "two.mp4: cannot be looked at (Permission denied)")
    (tmp_path / "taken" / "frames.csv").mkdir(parents=True)
    refused(extract(videos, "--out", tmp_path / "taken"), "frames.csv is a folder", "choose another --out")
    (tmp_path / "empty").mkdir()
    refused(extract(tmp_path / "empty", "--out", tmp_path / "out"), "no videos in it")
    (tmp_path / "empty" / "a.npy").touch()
    refused(extract(tmp_path / "empty", "--out", tmp_path / "out"), "no videos in it", "predict.py scores the features")
    refused(extract(tmp_path / "empty" / "a.npy", "--out", tmp_path / "out"), "a.npy: features, and a video is expected")
    made(tmp_path / "one.mp4", moving(2))
    refused(extract(videos, tmp_path / "one.mp4", "--out", tmp_path / "out"), "both called one", "rename one")
    (videos / f"{'x' * 240}.mp4").write_text("")
    refused(extract(videos, "--out", tmp_path / "out"), "230 bytes")
    assert not (tmp_path / "out").exists()


def test_features_may_lie_in_the_folder_of_the_videos_and_a_link_to_itself_does_no_harm(videos):
    (videos / "self").symlink_to(videos)
    for _ in range(2):
        done = extract(videos, videos / "two.mp4", "--out", videos / "features")
        assert done.code == 0 and not done.err, done
    assert sorted(rows_in(videos / "features")) == ["one", "two"]


def test_compare_says_how_alike_two_folders_are(tmp_path):
    for folder, features in (("a", walk(40)), ("b", walk(40)[1:])):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x__0.npy", features)
    np.save(tmp_path / "a" / "alone__0.npy", walk(9))
    done = call("extract.py", "compare", tmp_path / "a", tmp_path / "b")
    assert done.code == 0 and "alone__0.npy" in done.err
    figures = dict(line.rsplit(" ", 1) for line in done.out.splitlines() if line.startswith("cosine"))
    assert figures["cosine at shift -1: mean"] == "1.0000" and float(figures["cosine at shift +0: mean"]) < 0.99, done.out
    for window in (0, -1, 3, 10**8):
        refused(call("extract.py", "compare", tmp_path / "a", tmp_path / "b", "--attn-window", window), "--attn-window must be")
    refused(call("extract.py", "compare", tmp_path / "a", tmp_path / "c"), "c: no such folder")
    np.save(tmp_path / "b" / "x.npy", walk(9))
    refused(call("extract.py", "compare", tmp_path / "a", tmp_path / "b"), "are both crop 0 of x")
    for folder in "ab":
        shutil.rmtree(tmp_path / folder)
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x__0.npy", walk(9, 127))
    refused(call("extract.py", "compare", tmp_path / "a", tmp_path / "b"), "width 127", "a multiple of 64")


@pytest.fixture
def learned(toy, run):
    """A checkpoint of features that say how they were made: by the tiny encoder, two frames a snippet."""
    how = SimpleNamespace(rule="mean", frames_per_snippet=2, by="frames", fps=None, crops=1)
    made = feature_folder.origin_of(how, encoders.load_encoder("efficientnet-lite0", None, None))
    (toy.path / "features" / origin.NAME).write_text(json.dumps(made))
    done = run("ucf_train.py", *toy.flags, "--max-epoch", 1, "--batch-size", 4, "--out-dir", toy.path / "run")
    assert done.code == 0, done.err
    toy.best, toy.made = toy.path / "run" / "best.pt", made
    return toy


def test_predict_takes_a_video_as_it_takes_its_features(learned, videos, run):
    predict = ("predict.py", videos, "--model-path", learned.best, "--workers", 1, "--device", "cpu")
    (videos / "bad.mp4").write_text("no video")
    made(videos / "two.mp4", moving(16, 1), times=range(0, 1600, 100))
    done = run(*predict, "--out-dir", learned.out)
    refused(done, "1 of 3 videos gave no features; the others are done", "bad.mp4")
    assert json.loads((learned.out / "features" / "extract.json").read_text()) == learned.made
    extract(videos, "--out", learned.path / "extracted", "--frames-per-snippet", 2)
    other = run(*predict[:1], learned.path / "extracted", *predict[2:], "--out-dir", learned.path / "of features")
    assert other.code == 0, other
    ours, theirs = (read_scores(folder / "scores.npz") for folder in (learned.out, learned.path / "of features"))
    assert np.array_equal(ours.scores, theirs.scores) and [video.n_frames for video in ours.videos] == [40, 16]
    for name, end in (("one", 1.6), ("two", 1.6)):  # 40 frames of 25 a second, 16 of about 10
        with open(learned.out / "videos" / f"{name}.csv", newline="") as file:
            assert float(list(csv.DictReader(file))[-1]["end"]) == pytest.approx(end, rel=0.05), name
    for sources in ([], [learned.path / "extracted"]):
        done = run(predict[0], *sources, videos / "bad.mp4", *predict[2:], "--out-dir", learned.path / f"bad{len(sources)}")
        refused(done, "1 of 1 videos gave no features", "bad.mp4")
        assert ("2 videos, 4 snippets" in done.out) == bool(sources)  # a bad video does not keep the others from their scores
    done = run(*predict, "--out-dir", learned.out, "--overwrite")
    assert "2 of 3 videos are done already" in done.out and done.code == 2
    (videos / "bad.mp4").unlink()
    for name in ("first", "second"):  # `predict.py .` leaves features among the videos
        done = run(*predict, "--out-dir", videos / "runs" / name)
        assert done.code == 0 and "2 videos, 4 snippets" in done.out, done


def test_a_model_is_not_given_other_features_than_its_trainings(learned, videos, run):
    flags = ("--model-path", learned.best, "--device", "cpu")
    refused(run("predict.py", videos, *flags, "--encoder", "clip", "--out-dir", learned.out), "encoder clip, not efficientnet")
    contrary = ("--rule", "first", "--frames-per-snippet", 2)
    refused(run("predict.py", videos, *flags, *contrary, "--out-dir", learned.out), "--rule mean alone")
    folder = learned.path / "features"
    refused(run("predict.py", folder, *flags, "--rule", "first"), f"--rule: of videos alone, and {folder} has none")
    assert not learned.out.exists()
    refused(run("watch.py", videos, *flags, "--rule", "first", "--no-alarms", "--dry-run"), "rule first, not mean")
    content, other = torch.load(learned.best), learned.path / "other.pt"
    for features, said in (
        ([1], "not of extract.py"), ({}, "not of extract.py"),
        (learned.made | {"frames_per_snippet": "2"}, "this cannot be: frames_per_snippet 2"),
        (learned.made | {"rule": "last"}, "--rule must be one of mean, middle, first, not last; pass"),
    ):  # fmt: skip
        torch.save(content | {"options": content["options"] | {"features": features}}, other)
        refused(run("predict.py", videos, "--model-path", other, "--out-dir", learned.out), "other.pt", said)
    (learned.path / "features" / origin.NAME).write_text(json.dumps(learned.made | {"weights": "c" * 64}))
    test = ("ucf_test.py", *learned.flags[:-2], *flags[:2], "--out-dir", learned.out)
    refused(run(*test), "weights cccccccccccc, not aaaaaaaaaaaa", "--allow-other-features")
    features = learned.path / "features" / learned.test_rows[0][0]
    refused(run("predict.py", features, *flags, "--out-dir", learned.out), "weights cccccccccccc")
    done = run("predict.py", features, *flags, "--out-dir", learned.out, "--allow-other-features")
    assert done.code == 0 and "warning: the features were made in another way" in done.out
