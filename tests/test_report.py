"""The report of any method's scores, its figures and tables for a paper."""

import base64
import io
import json
import re
from argparse import Namespace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT, call, refused, write_list
from PIL import Image
from sklearn.metrics import roc_auc_score
from test_compare import judged, write_run

from evaluation import figures, page, source, tables
from evaluation.evaluate import Terms, evaluate
from evaluation.scores import Record, Scores
from evaluation.scores_file import read_scores, write_record
from files import folder
from files.videos import Video
from watching import journal, report
from watching.alarms import Alarm

SLICE = ROOT / "tests" / "pel4vad_slice.npz"  # 19 of the 290 UCF-Crime test videos as PEL4VAD scores them


def write_other(path):
    """Another method's scores, and their ground truth beside them: the path of the scores, and the flag of the truth."""
    content = dict(np.load(SLICE))
    np.save(path / "gt.npy", content.pop("gt"))
    np.savez(path / "other.npz", **content)
    return path / "other.npz", ["--gt-path", path / "gt.npy"]


@pytest.fixture
def other(tmp_path):
    return write_other(tmp_path)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """Those scores with their report: the path of the scores, what the script said, the folder of the report."""
    path, truth = write_other(tmp_path_factory.mktemp("other"))
    out = path.with_name("other-report")
    more = ["--format", "pdf", "--videos", "Arson011_x264", "Normal_Videos_889_x264.mp4", "--table", out / "t.tex"]
    return path, call("report.py", path, *truth, *more, "--fps", 25), out


def test_another_methods_scores_have_a_report_that_says_nothing_of_a_model(reported):
    """A report wanted logits, exit layers and options, so that a comparison with others was drawn by hand."""
    _, done, out = reported
    assert done.code == 0 and "has scores alone" in done.err, done
    html = (out / "report.html").read_text().partition("<body>")[2]
    for word in ("variant", "data set", "key clips", "layer", "not smoothed", "unsmoothed", 'class="raw"', 'class="bands"'):
        assert word not in html, word
    assert html.count("worst first") == 2 and 'value="error"' in html, "in the headline, and as an order"
    assert "19 videos" in html and "25 frames a second" in html and html.count("<article") == 19 and html.count("<img") == 4
    names = {f"{name}.{ending}" for name in ("curves", "classes", "scores", "timelines") for ending in ("png", "pdf")}
    assert {file.name for file in (out / "figures").iterdir()} == names
    assert b"/FontFile2" in (out / "figures/timelines.pdf").read_bytes()  # TrueType, as publishers want it
    assert "AUC, Arson (1) against all normal & " in (out / "t.tex").read_text()


def test_the_tables_of_videos_and_snippets_are_those_of_the_scores(reported):
    path, _, out = reported
    videos, snippets = (pd.read_csv(out / f"{name}.csv") for name in ("videos", "snippets"))
    content, gt = np.load(path), np.load(path.with_name("gt.npy"))
    assert snippets["score"].to_numpy() == pytest.approx(content["scores"], rel=1e-6)
    assert snippets["anomalous"].to_numpy() == pytest.approx(gt.reshape(-1, 16).mean(1))
    assert (snippets["end"] - snippets["start"]).to_numpy() == pytest.approx(16 / 25)
    threshold = evaluate(read_scores(path), gt, Terms(25.0, 1.0))["events"]["threshold"]
    end, kinds = 0, set()
    for row, name, n in zip(videos.itertuples(), content["video"], content["n_snippets"].tolist(), strict=True):
        scores, of_frames = content["scores"][end : end + n].astype(float), gt[16 * end : 16 * (end + n)]
        frames, end = scores.repeat(16), end + n
        assert (row.video, row.snippets, row.frames, row.anomalous_frames) == (name, n, 16 * n, of_frames.sum())
        assert (row.seconds, row.largest_score, row.mean_score) == pytest.approx((16 * n / 25, scores.max(), scores.mean()))
        assert row.error == pytest.approx(np.abs(of_frames - frames).mean())
        starts = np.flatnonzero(np.diff(of_frames.astype(int), prepend=0) == 1)
        assert row.events == len(starts)
        if len(starts):
            assert row.auc == pytest.approx(roc_auc_score(of_frames, frames)) and row.label == row.classes == name[:-8]
            kinds.add(bool(row.events_detected))
        else:
            assert np.isnan(row.auc) and np.isnan(row.classes) and row.label == "Normal"
        if len(starts) == 1 and row.events_detected:
            alarm = next(f for f in range(starts[0], 16 * n) if frames[f] > threshold)
            assert row.first_delay == pytest.approx((16 * (alarm // 16 + 1) - starts[0]) / 25)  # when its snippet is complete
    assert kinds == {True, False}


@pytest.fixture
def ours(tmp_path):
    """A scores.npz as a test of ours writes it, by hand."""
    videos = [Video("Abuse001_x264", None, "Abuse", ("Abuse",), 4, 60, 0), Video("Normal_1", None, "Normal", (), 2, 32, 0)]
    scores = Scores(videos, np.linspace(0, 1, 6), np.r_[1:5, 1:3], 0)
    truth = np.r_[np.zeros(20), np.ones(20), np.zeros(52)].astype(np.uint8)
    layers = np.ones(6, int)
    write_record(tmp_path / "scores.npz", Record(scores, np.zeros(6, np.float32), layers, layers > 0, truth))
    return tmp_path / "scores.npz"


def test_scores_of_ours_carry_their_truth(ours, run):
    done = run("report.py", ours)
    assert done.code == 0, done.err
    videos = pd.read_csv(ours.with_name("scores-report") / "videos.csv")
    assert videos["frames"].tolist() == [60, 32] and videos["anomalous_frames"].tolist() == [20, 0]
    said = run("metrics.py", ours, "--out", ours.with_name("figures.json")).out
    assert "at 30 frames a second" in said
    ours.with_name("options.json").write_text(json.dumps({"format": folder.FORMAT, "fps": 15.0, "false_alarms": 2.0}))
    said = run("metrics.py", ours, "--out", ours.with_name("figures.json")).out  # as it was tested
    assert "raise 2 or fewer false alarms" in said and "at 15 frames a second" in said
    ours.with_name("options.json").unlink()
    rows = [("Abuse001_x264.npy", "Abuse", 61), ("Normal_1.npy", "Normal", 32)]
    write_list(ours.with_name("list.csv"), rows, ("path", "label", "frames"))
    refused(run("report.py", ours, "--test-list", ours.with_name("list.csv")), "scores.npz: 92 frames", "list.csv has 93")


def test_without_ground_truth_the_report_is_of_scores_alone(other, ours, run):
    """It ended in an error, so that nobody saw the scores of own videos side by side."""
    path, _ = other
    for file in (path, ours):
        content = dict(np.load(file))
        content.pop("truth", None)
        np.savez(file, **content)
        done = run("report.py", file)
        out = file.with_name(f"{file.stem}-report")
        assert done.code == 0 and "no ground truth: scores alone" in done.out and "no figures" in done.err, done
        assert {left.name for left in out.iterdir()} == {"report.html", "videos.csv", "snippets.csv"}
        html = (out / "report.html").read_text().partition("<body>")[2]
        assert "no ground truth: scores alone" in html and html.count('class="bands"') == (2 if file == ours else 0)
        for word in ("<table", "<img", "error", 'class="truth"', 'class="threshold"', "worst"):
            assert word not in html, word
        highest = [float(value) for value in re.findall(r'data-highest="([\d.]+)"', html)]
        assert highest == sorted(highest, reverse=True) and len(highest) == len(content["video"])
        assert ("stopped at layer 1" in html and "key clips" in html) == (file == ours)
        videos, snippets = (pd.read_csv(out / f"{name}.csv") for name in ("videos", "snippets"))
        assert videos["largest_score"].max() == pytest.approx(content["scores"].max()) and len(snippets) == len(
            content["scores"]
        )
        assert not {"error", "auc", "events", "anomalous_frames", "anomalous"} & {*videos, *snippets}


def write_watch(path):
    """The folder of a watch: a file of an odd name with an alarm and an older stream, and a live camera with a gap."""
    (path / "alarms").mkdir(parents=True)
    Image.new("RGB", (640, 480), "red").save(path / "alarms" / "1 #.jpg")
    (path / "alarms" / "1 #.mp4").touch()
    rng = np.random.default_rng(0)
    with journal.opened(path / "events.db") as db, db.turn():
        db.camera("<b>&\udc80", "x.mp4")
        db.camera("gone", "rtsp://***@host")
        for stream, n in (("old", 5), ("new", 6)):
            db.stream(stream, "<b>&\udc80", fps=30.0, frames=90)
            rows = [journal.Row(i, i * 8 / 15, None, 0.1 * i, -1.5, 1 + i % 2, i % 2 == 0) for i in range(n)]
            db.score_rows("<b>&\udc80", stream, rows)
        alarm = Alarm("<b>&\udc80", "new", 3, 1.6, 2.0, 3.0, None, None, None, 0.5, 2)
        db.alarm(alarm, raised_at=1e9, picture="1 #.jpg", clip="1 #.mp4")
        db.alarm(alarm._replace(stream="old", first=0), raised_at=1e9)
        for stream, began, n in (("s", 1e9, 4000), ("t", 1e9 + 5000, 3000)):
            db.stream(stream, "gate", began=began, fps=25.0)
            scores = rng.uniform(0.2, 0.8, n)
            scores[77] = 0.95
            rows = [journal.Row(i, i / 2, began + i / 2 + rng.uniform(0, 0.1), s, 0.0, 1, True) for i, s in enumerate(scores)]
            db.score_rows("gate", stream, rows)
        live = Alarm("gate", "t", 9, 4.5, 5.0, None, 1e9 + 5004.5, 1e9 + 5005, None, 0.9, 3)
        db.alarm(live, raised_at=2e9, picture="gone.jpg", clip="../../gone.mp4")
        db.alarm(live._replace(stream="s", wall_start=1e9 - 99, wall_end=1e9 - 9, end=9.0), raised_at=1.5e9)
        db.happened("gate", 5.0, "lost", "<script>alert(1)</script>")
    return path


def test_the_page_of_a_watch_shows_alarms_cameras_and_what_happened(tmp_path, run):
    """Alarms were rows of a database, pictures in a folder: nobody saw them side by side."""
    folder = write_watch(tmp_path / "w")
    done = run("report.py", folder)
    assert done.code == 0 and "no ground truth: scores alone" in done.out, done
    text = (folder / "report.html").read_text()
    assert "3 cameras, 3 alarms, 7,006 scored snippets" in text
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    clips = [address for address in addresses if address[0] != "#" and not address.startswith("data:image/jpeg;base64,")]
    assert clips == ["alarms/1%20%23.mp4"], "no network, and no link to what is not there"
    pictures = [Image.open(io.BytesIO(base64.b64decode(a.partition(",")[2]))) for a in addresses if a.startswith("data:")]
    assert [picture.size for picture in pictures] == [(320, 240)] and "http" not in text.partition("<body>")[2]
    anchors = {address[1:] for address in addresses if address[0] == "#"}
    assert anchors <= set(re.findall(r' id="([^"]*)"', text))
    assert text.count("<script>") == 1 and "&lt;script&gt;" in text and "&lt;b&gt;&amp;\\udc80" in text and "<b>&" not in text
    raised = re.findall(r"score (0\.\d\d)</span></header>", text)
    assert raised == ["0.90", "0.90", "0.50"], "newest first"
    cards = {
        name: card for card in re.findall(r'<article id="c\d.*?</article>', text) for name in ("gate", "udc80") if name in card
    }
    spans = {name: re.findall(r'class="alarm" x="(.*?)" .*? width="(.*?)"', card) for name, card in cards.items()}
    assert spans["udc80"] == [("1.60", "1.40")] and 'viewBox="0 0 3 100"' in cards["udc80"], "its last snippet is short"
    (start, width), *others = spans["gate"]
    length = float(re.search('viewBox="0 0 (.*?) 100"', cards["gate"])[1])
    assert (
        not others and float(start) == pytest.approx(5004.5, abs=0.2) and float(start) + float(width) == pytest.approx(length)
    )
    path = re.search(r'class="smooth" d="(.*?)"', cards["gate"])[1]
    assert path.count("M") == 2 and path.count("V") <= 3500 and "V5H" in path, "a break, few steps, and the peak among them"
    assert 'data-highest="0.9500"' in cards["gate"] and "1 lost" in cards["gate"] and text.count("no scores") == 1
    with journal.opened(folder / "events.db") as db:  # as a watch does at its end
        text = report.write(folder, db, {"<b>&\udc80": "new"}, 0.7).read_text()
    assert "1 camera, 1 alarm, 6 scored snippets" in text and "threshold, 0.700" in text and text.count('="threshold"') == 1
    refused(run("report.py", folder, "--test-list", "x.csv"), "folder of a watch", "--test-list would be ignored")


@pytest.fixture
def folder_of_ours(tmp_path):
    """The folder of a test, of two videos."""
    return write_run(tmp_path / "run", judged(order=(0, 1)))


@pytest.mark.parametrize("name", ["video", "label", "n_snippets", "n_frames", "scores", "logits", "exit_layer", "key", "truth"])
def test_damaged_scores_of_ours_are_refused_by_name(folder_of_ours, tmp_path, name):
    """They ended in a traceback, in numpy's own words, or in figures of values that are none."""
    path = folder_of_ours / "scores.npz"
    whole = dict(np.load(path))
    short, length = whole[name][:-1], len(whole[name])
    odd = {"video": whole["video"][[0, 0]], "label": np.arange(2), "truth": np.zeros(length)}
    odd = odd.get(name, np.full(length, np.nan))
    sound = write_run(tmp_path / "sound", judged(order=(0, 1)))
    for changed in (short, short[0], odd):
        np.savez(path, **whole | {name: changed})
        for command in (["report.py", folder_of_ours], ["compare.py", sound, f"B={folder_of_ours}"]):
            refused(call(*command, "--out-dir", tmp_path / "new"), path)
    del whole[name]
    np.savez(path, **whole)
    done = call("report.py", folder_of_ours, "--out-dir", tmp_path / "new")
    if name in ("label", "n_frames"):  # not needed: who has neither is in no class, its frames are those of its snippets
        assert done.code == 0, done
    else:
        refused(done, folder_of_ours)
        assert not (tmp_path / "new").exists()


def test_names_that_break_a_table_are_refused(other, run):
    path, truth = other
    content = dict(np.load(path))
    for name, value in (("video", "two\nlines"), ("video", ""), ("label", "two\nlines")):
        texts = content["video"].astype("U30") if name == "video" else np.full(len(content["video"]), "Normal", "U30")
        texts[1] = value
        np.savez(path, **content | {name: texts})
        refused(run("report.py", path, *truth), path, "two\\nlines" if value else "video 2 of 19 has no name")
        assert not path.with_name("other-report").exists()
    refused(run("compare.py", f"A\nB={path}", path), "A\\nB", "printable")


def test_scores_of_another_model_than_the_options_are_refused(folder_of_ours, tmp_path):
    content = dict(np.load(folder_of_ours / "scores.npz"))
    np.savez(folder_of_ours / "scores.npz", **content | {"exit_layer": content["exit_layer"] + 99})
    refused(call("report.py", folder_of_ours, "--out-dir", tmp_path / "new"), "scores.npz: exit layers")
    assert not (tmp_path / "new").exists()


def test_a_damaged_log_and_damaged_options_are_named(folder_of_ours, tmp_path):
    log, options = folder_of_ours / "log.jsonl", folder_of_ours / "options.json"
    for line in ('{"epoch": 1, "st', "3", '{"auc": 1}'):
        log.write_text(line + "\n")
        refused(call("report.py", folder_of_ours, "--out-dir", tmp_path / "new"), f"{log}, line 1")
    log.unlink()
    content = json.loads(options.read_text())
    for fps in ({}, {"fps": None}, {"fps": "x"}, {"fps": -1}):
        options.write_text(json.dumps({name: value for name, value in content.items() if name != "fps"} | fps))
        for command in (["report.py", folder_of_ours], ["compare.py", f"A={folder_of_ours}", f"B={folder_of_ours}"]):
            refused(call(*command, "--out-dir", tmp_path / "new"), options, "--fps")
    assert not (tmp_path / "new").exists()


def test_videos_without_labels_are_named_and_in_no_class(other):
    path, (_, truth) = other
    content = dict(np.load(path))
    content["video"] = np.array([f"v{i}" if i < 2 else name for i, name in enumerate(content["video"])])
    np.savez(path, **content)
    given = Namespace(gt_path=truth, test_list=None, hold_last=False, normal_label=None, fps=None, false_alarms=None)
    read = source.read(path, given)
    note, _ = source.left_out(read)
    assert "2 of 19 videos, v0 the first, have no label" in note and "--test-list" in note
    assert read.terms == Terms(30.0, 1.0)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--gt-path"], ["--table", "no ground truth", "--gt-path"]),
        (["--table", "t.txt"], ["t.txt", ".csv or .md or .tex", "--table"]),
        (["--table", "gt.npy"], ["gt.npy", "would replace an input"]),
        (["--width", "1"], ["--width must be at least 3"]),
        (["--videos", "Arson16_x264"], ["Arson16_x264", "19 videos", "Arson011_x264"]),
        (["--out-dir", "run"], ["folder of another run", "choose another one\n"]),
        (["--out-dir", "mine"], ["videos.csv is there already", "--out-dir"]),
        (["--out-dir", "theirs"], ["report.html is there already, and not of a report of ours", "--out-dir"]),
        (["--out-dir", "gt.npy"], ["gt.npy", "--out-dir"]),
        (["--out-dir", "nowhere"], ["nowhere is a link to what is not there", "--out-dir"]),
        (["--normal-label", " "], ["--normal-label: expected a label, found nothing"]),
        (["--fps", "0"], ["--fps must be"]),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(other, run, monkeypatch, flags, words):
    path, truth = other
    monkeypatch.chdir(path.parent)
    for name in ("run/options.json", "mine/videos.csv", "theirs/report.html"):
        (path.parent / name).parent.mkdir()
        (path.parent / name).write_text("{}")
    (path.parent / "nowhere").symlink_to("gone")
    before = sorted(path.parent.rglob("*"))
    refused(run("report.py", path, *(["--table", "t.md"] if flags == ["--gt-path"] else [*truth, *flags])), *words)
    assert sorted(path.parent.rglob("*")) == before


def test_a_report_that_fails_leaves_the_old_one_whole(reported, monkeypatch):
    path, _, out = reported
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    (out / ".new-report").mkdir()  # of one that was killed

    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(tables, "of_snippets", full)
    given = Namespace(gt_path=None, test_list=None, hold_last=False, normal_label=None, fps=None, false_alarms=None)
    with pytest.raises(OSError, match="disk full"):
        page.write_report(out, source.read(path, given), {})
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before
    assert not (out / ".new-report").exists()


def test_a_run_has_its_own_truth_and_other_formats_are_refused(other, run):
    path, truth = other
    refused(run("report.py", path.parent, *truth, "--hold-last"), "--gt-path, --hold-last", "scores.npz")
    done = run("report.py", path, *truth, "--format", "gif")
    assert done.code == 2 and "invalid choice" in done.err and not path.with_name("other-report").exists()


def drawn(path, *of, **how):
    """The texts of the timelines, as an SVG file has them."""
    figures.timelines(path / "x.svg", *of, **how)
    return re.findall(r"<text[^>]*>([^<]*)</text>", (path / "x.svg").read_text())


def test_timelines_show_the_chosen_videos_with_or_without_truth(tmp_path):
    videos = [Video(f"v{i}", None, "", None, 188, 3000, 0) for i in range(14)]
    scores, truth = np.linspace(0, 1, 14 * 188), np.zeros(42_000, np.uint8)
    truth[3100:3200] = 1
    texts = drawn(tmp_path, videos, scores, truth, shown=[1, 5], threshold=0.25, fps=25.0, width=7.0)
    assert {"v1", "v5", "score", "ground truth", "threshold 0.250", "0:30", "2:00"} <= set(texts)
    assert not {"v0", "frame"} & set(texts) and not any("of 14" in text for text in texts)
    texts = drawn(tmp_path, videos, scores, truth)  # as a test draws them
    assert {"v0", "v1", "v11", "frame", "2000", "Scores of 12 of 14 videos", "ground truth"} <= set(texts)
    assert "v12" not in texts
    texts = drawn(tmp_path, videos[:1], scores[:188], None, fps=25.0)
    assert {"v0", "score", "1:00"} <= set(texts) and "ground truth" not in texts


def test_names_of_videos_are_those_of_their_files(other):
    videos = [Video(name, None, "", None, 1, 16, 0) for name in ("a", "b")]
    assert source.places_of(["b", "x/a__3.npy", "b"], videos) == [1, 0]
    with pytest.raises(ValueError, match="the first is a"):
        source.places_of(["elsewhere"], videos)


def test_a_table_in_latex_keeps_what_would_be_commands_as_text(tmp_path):
    rows = [["%", "a_b & c#1"], ["[x] \\{y}~^<>$", "1.0 ± 0.4 [1, 2]"], ["  delay", "-"]]
    tables.write(tmp_path / "t.tex", rows)
    text = (tmp_path / "t.tex").read_text()
    assert r"\% & a\_b \& c\#1 \\" in text and r"\quad delay & - \\" in text and text.count(r"\\") == 3
    assert "\n" + r"{}[x] \textbackslash{}\{y\}\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\$ & 1.0 ±" in text


def test_the_metrics_table_goes_to_a_file_too(other, run):
    path, truth = other
    done = run("metrics.py", path, *truth, "--table", path.with_name("t.md"))
    assert done.code == 0 and "t.md" in done.out, done
    lines = path.with_name("t.md").read_text().splitlines()
    assert lines[0] == "| % | other.npz |" and any(line.startswith("| AUC, Arson (1) against all normal | ") for line in lines)
    refused(run("metrics.py", path, *truth, "--table", path.with_name("t.docx")), ".csv or .md or .tex")
