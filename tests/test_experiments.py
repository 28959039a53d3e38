"""The grid of experiments, the sets for the memory experiment, and the report."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace

import numpy as np
import pytest
from conftest import ROOT, SMALL, refused, write_list
from warm import Forked, ran, started

from evaluation import events, page, side_by_side, timeline
from experiments import outcome
from experiments.grid import Cell, Row


@pytest.fixture(autouse=True)
def forked(monkeypatch):
    """Cells of grids that run in this process begin at once."""
    if sys.platform == "linux":
        monkeypatch.setattr(subprocess, "Popen", Forked)


NOHUP = "import runpy, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN); del sys.argv[0]; "
NOHUP += "sys.path[0] = sys.argv[0].rpartition('/')[0]; runpy.run_path(sys.argv[0], run_name='__main__')"


@pytest.fixture
def grid(toy):
    """A command for a grid of two tiny trainings per row."""
    script = [str(ROOT / "ablate.py"), "ucf_train", "--out-dir", str(toy.path / "grid"), "--jobs", "2"]
    flags = [*map(str, toy.flags), "--visual-layers", "1", "--max-epoch", "1", "--batch-size", "2", "--val-share", "0.3"]

    def command(*more, then=()):
        return [*script, *more, "--", *flags, *then]

    return command


def finished(command):
    done = ran(command)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_grid_tunes_stops_goes_on_and_runs_nothing_twice(toy, grid):
    folder = toy.path / "grid"
    command = grid("--rows", "no HMA", "--tune", "lr=1e-4,1e-3", "--seeds", "1", "2")
    killed = folder / "no-HMA/lr-1e-4/seed-1"
    killed.mkdir(parents=True)
    for name in ("output.txt", "options.json", "best.pt"):
        (killed / name).touch()
    process = started(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not list(folder.glob("*/*/*/last.pt")) and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)  # while the runs save
    assert "the same command goes on" in process.communicate()[1] and process.returncode == 130
    assert not (folder / "table.md").exists()

    process = started(["-c", NOHUP, *command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    line = process.stdout.readline()
    assert re.fullmatch(r"1 of 4: no HMA, lr 1e-[34], seed [12]: AUC \d+\.\d\d(, \d+ s)?\n", line)
    assert not (folder / "table.md").exists()
    process.send_signal(signal.SIGHUP)
    printed = process.communicate()[0]
    assert process.returncode == 0 and printed.startswith("2 of 4: ") and "\n4 of 4: " in printed
    table = (folder / "table.md").read_text()
    assert table in printed and table.count("±") == len(outcome.COLUMNS)
    with open(folder / "cells.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 and {row["seed"] for row in rows} == {"1", "2"}
    cells = {(row["lr"], row["seed"]): row for row in rows}
    (chosen,) = re.findall(r"\| no HMA \| lr (1e-[34]) ", table)
    assert {row["lr"] for row in rows if row["chosen"] == "True"} == {chosen}
    files = {lr: sorted((folder / f"no-HMA/lr-{lr}").glob("*/results.json")) for lr in ("1e-4", "1e-3")}
    validated = {lr: np.mean([json.loads(file.read_text())["best"]["val_auc"] for file in of]) for lr, of in files.items()}
    assert validated[chosen] == max(validated.values())
    aucs = [100 * float(cells[chosen, seed]["auc"]) for seed in "12"]
    assert f"{np.mean(aucs):.2f} ± {np.std(aucs, ddof=1):.2f} [" in table
    assert table.startswith("|  | tuned | selected by | n | AUC |") and "| no HMA | lr 1e-" in table
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        *(f"{name}.{ending}" for name in ("table", "differences") for ending in ("md", "csv", "tex")),
        "cells.csv",
        "figure.png",
    }
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert not list(folder.glob("*/*/*/last.pt")) and len(list(folder.glob("*/*/*/best.pt"))) == 4

    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/*/*/results.json")}
    finished(command)
    assert before == {path: path.stat().st_mtime_ns for path in folder.glob("*/*/*/results.json")}
    again = ran(grid("--rows", "no HMA", "--tune", "lr=1e-4,1e-3", then=["--p", "1"]))
    assert again.returncode == 2 and "with other flags" in again.stderr
    (folder / "no-HMA/lr-1e-4/seed-1/results.json").write_text("{")
    again = ran(command)
    assert again.returncode == 2 and "to run it again" in again.stderr


def test_only_what_a_grid_began_and_cannot_go_on_with_is_removed(tmp_path):
    clear = Cell("", "", Row("paper", {}), {}, 1, [], tmp_path).clear
    names = {"lock", "output.txt", "options.json", "best.pt", "last.pt"}
    for name in names:
        (tmp_path / name).touch()
    clear()
    assert {path.name for path in tmp_path.iterdir()} == names
    (tmp_path / "last.pt").unlink()
    clear()
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "output.txt"}
    (tmp_path / "output.txt").rename(tmp_path / "results.json")  # a run by hand
    clear()
    assert {path.name for path in tmp_path.iterdir()} == {"lock", "results.json"}


def test_a_row_is_varied_over_the_options_it_does_not_set_and_braces_take_values(toy, run):
    flags = [
        "ucf_train",
        "--rows",
        "paper",
        "no memory",
        "--vary",
        "gap=2,4",
        "--vary",
        "cache-keep-max-len=2,8",
        "--seeds",
        7,
        "--dry-run",
    ]
    done = run("ablate.py", *flags, "--out-dir", toy.out, "--", "--train-list", "sets/{gap}/train.csv")
    assert done.code == 0, done.err
    commands = done.out.splitlines()
    assert len(commands) == 2 * 2 + 2 and not toy.out.exists()
    assert all("{gap}" not in line and "--gap" not in line for line in commands)
    assert sum("sets/4/train.csv" in line for line in commands) == 3
    assert sum("--cache-keep-max-len 1" in line for line in commands) == 2


def test_a_figure_has_a_panel_for_each_value_and_rows_that_choose_it_in_all(tmp_path, monkeypatch):
    changes = [{"gap": gap, "cache-keep-max-len": cache} for gap in ("4", "2") for cache in ("2", "8")]
    rows = [*(Row("paper", change) for change in changes), *(Row("no memory", {"gap": gap}) for gap in ("4", "2"))]
    lines = [line_of(row, auc=[[0.5], [0.7]]) for row in rows]
    grid = Namespace(
        args=Namespace(
            rows=["paper", "no memory"], metric="auc", vary=[("gap", ["4", "2"]), ("cache-keep-max-len", ["2", "8"])]
        )
    )
    outcome.draw(grid, lines, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")

    drawn = {}
    monkeypatch.setattr(side_by_side, "curves_over", lambda path, panels, x, y: drawn.update(panels))
    outcome.draw(grid, lines, tmp_path / "figure.png")
    assert list(drawn) == ["cache-keep-max-len 2", "cache-keep-max-len 8"]
    for curves in drawn.values():
        assert {name: [at for at, _ in points] for name, points in curves.items()} == {"paper": [4, 2], "no memory": [4, 2]}
        assert all(values.tolist() == [50, 70] for points in curves.values() for _, values in points)
    drawn.clear()
    grid.args.vary = grid.args.vary[::-1]  # now the rows of no memory lack the first: they are level
    outcome.draw(grid, lines, tmp_path / "figure.png")
    assert list(drawn) == ["gap 4", "gap 2"]
    assert all([at for at, _ in curves["no memory"]] == [2, 8] for curves in drawn.values())
    drawn.clear()
    grid.args.rows, grid.args.vary = ["paper"], grid.args.vary[::-1]
    outcome.draw(grid, lines[:4], tmp_path / "figure.png")
    assert {panel: list(curves) for panel, curves in drawn.items()} == {"": ["cache-keep-max-len 2", "cache-keep-max-len 8"]}
    drawn.clear()
    tested = [line._replace(called=f"cache {line.row.changes['cache-keep-max-len']}") for line in lines[:4]]
    outcome.draw(grid, tested, tmp_path / "figure.png")
    assert list(drawn[""]) == ["cache 2", "cache 8"]  # by what they are, where that tells them apart


def test_a_table_says_of_each_row_how_it_was_chosen_and_has_the_metric_first():
    chosen = [("", "auc"), ("lr 1e-4", "val_auc")]
    metrics = {key: [[0.5]] for key in outcome.COLUMNS.values()} | {"video_auc": [[np.nan]]}
    lines = [
        line_of(Row(f"row {i}", {}), **metrics)._replace(tuned=tuned, selected_by=by) for i, (tuned, by) in enumerate(chosen)
    ]
    (head, *rows), _ = outcome.tables_of(lines, "ap")
    assert head[:7] == ["", "tuned", "selected by", "n", "AP", "AUC", "causal"]
    assert [tuple(row[1:3]) for row in rows] == chosen
    figures, differences = outcome.tables_of(lines, "video_auc")
    assert [row[4] for row in figures[1:]] == ["-", "-"] and differences[1][1] == "-"
    plain = outcome.tables_of([line._replace(tuned="", selected_by="") for line in lines], "auc")[0]
    assert plain[0][:3] == ["", "n", "AUC"]


def test_a_difference_is_paired_and_only_between_the_same_videos():
    """Each seed resampled alike: what is common to both rows cancels, in every metric."""
    common = np.r_[0.5, np.linspace(0.1, 0.9, 999)]
    first = line_of(Row("first", {}), auc=[common, common + 0.02], ap=[common / 2] * 2)
    better = line_of(Row("better", {}), auc=[common + 0.05, common + 0.07], ap=[common / 2 - 0.01] * 2)
    other = better._replace(name="other", test_set=(("v", 3, 48), 1))
    figures, differences = outcome.tables_of([first, better, other], "auc")
    assert outcome.on_others([first, better, other]) == ["other"]
    assert figures[1][1:] == ["2", "51.00 ± 1.41 [13.00, 89.00]", "25.00 ± 0.00 [6.00, 44.00]"]
    assert differences == [["less first", "AUC", "AP"], ["better", "+5.00 [5.00, 5.00]", "-1.00 [-1.00, -1.00]"]]


def line_of(row, **metrics):
    """A line of a table, called as its row."""
    name = ", ".join([row.base, *(f"{option} {value}" for option, value in row.changes.items())])
    arrays = {name: np.array(seeds, float) for name, seeds in metrics.items()}
    return outcome.Line(row.base, name, row, "", "", arrays, ())


def test_a_cell_whose_scores_are_gone_is_named(trained, run):
    command = ["ablate.py", "ucf_test", "--seeds", 3, "--out-dir", trained.out, "--", *trained.test_flags[:-2]]
    assert run(*command).code == 0
    (path,) = trained.out.glob("**/scores.npz")
    path.unlink()
    done = run(*command)
    assert done.code == 2 and str(path) in done.err


def test_a_test_without_normal_videos_and_with_odd_names_writes_whole_results(trained, run):
    odd = trained.path / "features/Abuse/Abuse_$x^$__5.npy"
    shutil.copy(trained.path / "features" / trained.test_rows[5][0], odd)
    write_list(trained.path / "test.csv", [(f"Abuse/{odd.name}", "Abuse")])
    np.save(trained.path / "gt.npy", trained.test_truth[5])
    done = run("ucf_test.py", *trained.test_flags, "--report")
    assert done.code == 0 and "[-]" in done.out, done

    def refuse(constant):
        raise ValueError(constant)

    results = json.loads((trained.out / "results.json").read_text(), parse_constant=refuse)
    assert results["video_auc"] is None
    done = run("ablate.py", "ucf_test", "--metric", "video_auc_topk", "--seeds", 3, "--out-dir", trained.path / "grid", "--",
               *trained.test_flags[:-2])  # fmt: skip
    assert done.code == 0 and "| - |" in done.out, done


def test_a_grid_of_tests(trained, run):
    more = ["--vary", "drop-snippets=0,0.9", "--seeds", 3, "--out-dir", trained.out]
    done = run("ablate.py", "ucf_test", *more, "--", *trained.test_flags[:-2])
    assert done.code == 0, done.err
    assert done.out.count("| paper, drop-snippets") == 3 and "last epoch" not in done.out
    assert (trained.out / "figure.png").exists()
    (trained.out / "table.csv").unlink()
    fewer = [*more[:1], "drop-snippets=0", *more[2:]]
    done = run("ablate.py", "ucf_test", *fewer, "--", *trained.test_flags[:-2])
    assert done.code == 0 and "1 runs in" in done.out and "drop-snippets-0.9/seed-3" in done.out
    done = run("ablate.py", "ucf_test", "--rows", "no KCG", *more, "--", *trained.test_flags[:-2])
    refused(done, "--keyclip-train would be ignored by a test")
    done = run("ablate.py", "ucf_test", "--out-dir", trained.path / "same", "--", *trained.test_flags[:-2])
    refused(done, "the same test", "{seed}")
    options = trained.out / "paper/drop-snippets-0/seed-3/options.json"
    options.write_text(json.dumps(json.loads(options.read_text()) | {"exit_threshold": 0.7}))
    refused(run("ablate.py", "ucf_test", *more, "--", *trained.test_flags[:-2]), "another --exit-threshold")
    (trained.path / "mine").mkdir()
    (trained.path / "mine/table.csv").touch()
    done = run("ablate.py", "ucf_test", "--seeds", 3, "--out-dir", trained.path / "mine", "--", *trained.test_flags[:-2])
    refused(done, "table.csv is there already")
    os.utime(trained.best, (1, 1))
    done = run("ablate.py", "ucf_test", *more, "--", *trained.test_flags[:-2])
    refused(done, "holds a test of another checkpoint", "another --out-dir")
    long = [
        "longterm_test",
        "--rows",
        "paper",
        "--seeds",
        3,
        "--out-dir",
        trained.path / "long",
        "--",
        *trained.test_flags[:-2],
    ]
    for _ in range(2):  # finished, it is not run again
        assert run("ablate.py", *long).code == 0
    assert json.loads((trained.path / "long/paper/seed-3/options.json").read_text())["exit_threshold"] == 1.0
    done = run("ablate.py", "longterm_test", *more, "--", *trained.test_flags[:-2])
    assert done.code == 2 and "holds a run of ucf_test.py" in done.err
    done = run("ablate.py", "ucf_test", "--tune", "p=0,1", *more, "--", *trained.test_flags[:-2])
    assert done.code == 2 and "--tune needs trainings" in done.err


@pytest.mark.parametrize(
    ("flags", "then", "words"),
    [
        (["--tune", "lr"], [], "expected an option and its values"),
        (["--rows", "nonsense"], [], "invalid choice"),
        (["--jobs", 0], [], "--jobs must be at least 1"),
        (["--tune", "lr=1e-4,1e-3"], [], "--tune needs validation videos"),
        (["--vary", "lr=-1"], [], "--lr must be above 0"),
        (["--vary", "nonsense=1,2"], [], "has no such option"),
        (["--vary", "keyclip-train=true,maybe"], [], "keyclip-train is true or false, not maybe"),
        (["--vary", "help=1"], [], "no such option"),
        (["--seeds", 1, 1], [], "--seeds: 1, 1 has one of them twice"),
        (["--vary", "lr=1e-4,1e-4"], [], "twice"),
        (["--vary", "lr=1,2", "--tune", "lr=3,4"], [], "twice"),
        (["--vary", "seed=1,2"], [], "--seed is given to each run by the grid"),
        ([], ["--model-path", "x.pt"], "--model-path is given to each run by the grid"),
        ([], ["--out_dir=x"], "--out-dir is given to each run by the grid"),
        (["--vary", "feature-root=a/b,a-b"], [], "folders of one name"),
        (["--seeds", 1, -1], [], "--seed must be at least 0"),
        ([], ["--train-list", "nowhere.csv"], "--train-list nowhere.csv: not there"),
    ],
)
def test_bad_grids_are_refused(tmp_path, run, flags, then, words):
    done = run("ablate.py", "ucf_train", "--seeds", 1, "--out-dir", tmp_path / "grid", *flags, "--", *then)
    assert done.code == 2 and words in done.err, done
    assert not list(tmp_path.glob("grid/**/cell.json"))


def test_the_memory_sets_cannot_be_told_apart_in_a_short_window(tmp_path, run):
    """Every event comes as often first as second, so that a clip alone, or any window without both, says nothing.

    Nor do a video's ends: when the second event was near the last clip, a model with a memory of one clip reached an AUC of 72
    at a gap of 64, by what followed the first event and was cut off after the second.
    """
    done = run("demo.py", "--out", tmp_path, "--gaps", 3, "--n-videos", 120, "--width", WIDTH)
    assert done.code == 0, done.err
    folder = tmp_path / "3"
    with open(folder / "test.csv") as file:
        rows = list(csv.DictReader(file))
    clips = np.stack([np.load(folder / row["path"]) for row in rows]).reshape(len(rows), -1, 4, WIDTH).mean(2).astype(float)
    truth = np.load(folder / "gt.npy").reshape(len(rows), -1, 64)[:, :, 0]
    unusual = np.linalg.norm(clips - np.median(clips, (0, 1)), axis=2) > 4  # (V, N) the clips with an event
    assert (unusual.sum(1) == 2).all()
    first, second = unusual.argmax(1), unusual.shape[1] - 1 - unusual[:, ::-1].argmax(1)
    assert (second - first == 3).all() and first.min() >= 16 and second.max() + 16 < unusual.shape[1]
    anomalous = np.array([row["label"] == "Abuse" for row in rows])
    assert (truth.argmax(1)[anomalous] == second[anomalous]).all() and truth[~anomalous].sum() == 0
    v = np.arange(len(rows))
    opening = clips[v, np.where(anomalous, second, first)]
    closing = clips[v, np.where(anomalous, first, second)]
    assert np.linalg.norm(opening - opening.mean(0), axis=1).max() < 4 < np.linalg.norm(opening.mean(0) - closing.mean(0))


WIDTH = int(SMALL[1])


def test_a_test_writes_its_report_and_so_does_the_script_for_any_run(trained, run):
    done = run("ucf_test.py", *trained.test_flags, "--report", "--fps", 24)
    assert done.code == 0 and "report in" in done.out, done
    html = (trained.out / "report.html").read_text()
    names = [row[0].split("/")[1].removesuffix("__5.npy") for row in trained.test_rows]
    assert html.count("<article") == len(names) and all(name in html for name in names)
    errors = [float(x) for x in re.findall(r'data-error="([\d.]+)"', html)]
    assert errors == sorted(errors, reverse=True)
    assert not re.search(r'(src|href)="(?!data:image/png;base64,|#)', html) and "@import" not in html  # nothing from outside
    assert html.count("<img") == 3 and "24 frames a second" in html and "causal 8" in html
    assert {path.name for path in (trained.out / "figures").iterdir()} == {"curves.png", "classes.png", "scores.png"}

    done = run("report.py", trained.path / "run")
    assert done.code == 0, done.err
    assert (trained.path / "run/report.html").read_text().count("<img") == 4  # and the training curves


DAMAGE = (
    ("scores.npz", None, "no such file of scores"),
    ("scores.npz", b"PK", "not a whole .npz file"),
    ("scores.npz", {"format": np.array("lshma scores 0")}, "not written by a test of this version"),
    ("options.json", None, "not there; give the folder of a test"),
    ("options.json", b"{", "missing or damaged"),
    ("options.json", b"[]", "of a run of this version"),
    ("options.json", b"{}", "of a run of this version"),
)


def test_a_folder_that_is_no_whole_run_has_no_report(trained, run):
    folder = trained.path / "run"
    for name, content, words in DAMAGE:
        whole = (folder / name).read_bytes()
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        elif content is None:
            (folder / name).unlink()
        else:
            np.savez(folder / name, **dict(np.load(folder / name)) | content)
        done = run("report.py", folder)
        assert done.code == 2 and words in done.err, done
        assert not (folder / "report.html").exists() and not (folder / "figures").exists()
        (folder / name).write_bytes(whole)


def test_a_timelines_curve_is_its_scores_to_a_hundredth():
    scores = np.array([0.0, 0.0, 0.5, 0.5, 1.0])
    starts = 16 * np.arange(5)
    assert timeline.steps(scores, starts, np.append(starts[1:], 85)) == "M0 100H32V50H64V0H85"
    assert timeline.steps(scores, starts, starts + np.array([9, 9, 16, 16, 21])) == "M0 100H9M16 100H25M32 50H64V0H85", (
        "no line across a gap"
    )
    assert page.clock(125.9) == "2:05"


def test_runs_do_not_reach_across_videos():
    runs = events.runs(np.array([0, 1, 1, 1, 0, 1], bool), np.array([3, 3]))
    assert list(zip(*(x.tolist() for x in runs), strict=True)) == [(0, 1, 3), (1, 0, 1), (1, 2, 3)]
