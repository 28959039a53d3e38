"""Figures: in the format that the path says, on any machine."""

import os
import subprocess
import sys
import warnings

import pytest
from conftest import ROOT

from evaluation import figures, fonts

RESULTS = {"classes": {"Abuse": {"n_videos": 2, "auc": {"value": 0.7, "interval": [0.6, 0.9]}}}}


@pytest.mark.parametrize(
    ("name", "begin"), [("x.pdf", b"%PDF"), ("x.PNG", b"\x89PNG"), ("x.svg", b"<?xml"), ("x.v2.png", b"\x89PNG")]
)
def test_the_ending_decides_the_format(tmp_path, name, begin):
    """A figure named .pdf was a PNG."""
    figures.class_bars(tmp_path / name, RESULTS)
    assert (tmp_path / name).read_bytes().startswith(begin)


@pytest.mark.parametrize("name", ["x", "x.", "x.jpgg", "png"])
def test_another_ending_is_refused_with_those_there_are(tmp_path, name):
    with pytest.raises(ValueError, match=r"one of .*\.pdf, .*\.png, .*\.svg"):
        figures.class_bars(tmp_path / name, RESULTS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_the_users_backend_does_not_matter(tmp_path, backend):
    """Every notebook exports one that a command line may not have: it ended a training at its first evaluation."""
    code = "import os, sys; from pathlib import Path; from evaluation import figures; "
    code += f"figures.class_bars(Path('x.png'), {RESULTS}); "
    code += f"assert os.environ['MPLBACKEND'] == {backend!r} and 'matplotlib.pyplot' not in sys.modules"
    (tmp_path / "img").mkdir()
    overview = tmp_path / "img" / "overview.py"
    overview.write_bytes((ROOT / "img" / "overview.py").read_bytes())
    for command in (["-c", code], [overview]):
        environment = os.environ | {"MPLBACKEND": backend, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.png").exists() and overview.with_suffix(".png").exists()


def test_a_figure_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "x.png"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), figures.drawing(path, (1, 1)):
        _ = 1 / 0
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_script_that_no_font_has_is_told_once_and_one_that_is_here_is_used(tmp_path, monkeypatch, capsys):
    """Each character was a box, and a warning of matplotlib's own."""
    monkeypatch.setattr(fonts, "TOLD", set())
    monkeypatch.setattr(fonts, "WIDE", ())
    for name in ("x.png", "x.svg"):
        with warnings.catch_warnings(action="error"), figures.drawing(tmp_path / name, (2, 1)) as figure:
            figure.suptitle("\u95e8\u53e3 1")
    err = capsys.readouterr().err
    assert err.count("no font here has CJK characters, as in \u95e8\u53e3 1") == err.count("warning") == 1, err
    monkeypatch.setattr(fonts, "WIDE", ("Nowhere", "DejaVu Serif"))
    assert fonts.families()[1:] == ["DejaVu Serif"]
