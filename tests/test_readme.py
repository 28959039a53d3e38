"""The commands of README and RESULTS, in a copy of the project, on the synthetic set in the place of the real ones."""

import re
import shlex
import shutil

import golden
import numpy as np
import pytest
import torch
from conftest import ROOT
from warm import ran

WIDTH = 128
ROOMS = ("files", "evaluation", "outside", "running", "experiments", "video")


def blocks(language):
    text = "".join((ROOT / name).read_text() for name in ("README.md", "RESULTS.md"))
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.M | re.S)


def commands():
    lines = [line.split("#")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("make ")]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy with small defaults, the synthetic set under the real names, and a released checkpoint."""
    path = tmp_path_factory.mktemp("project")
    for pattern in ("*.py", "list/*.py", *(f"{room}/*" for room in ROOMS)):
        for file in (file for file in ROOT.glob(pattern) if file.is_file()):
            (path / file.relative_to(ROOT)).parent.mkdir(exist_ok=True)
            shutil.copy(file, path / file.relative_to(ROOT))
    for name in ("ucf_option.py", "xd_option.py", "own_option.py"):
        text = (path / name).read_text()
        text = text.replace("visual_width=512", f"visual_width={WIDTH}").replace("max_epoch=15", "max_epoch=1")
        text = text.replace("batch_size=1,", "batch_size=4,")
        (path / name).write_text(text)
    assert ran(["demo.py", "--out", ".", "--n-videos", 16, "--length", 16, "--width", WIDTH], cwd=path).returncode == 0
    for file in (path / "list").glob("*_CLIP_*.csv"):
        file.unlink()
    (path / "I3DFeatures").mkdir()
    for n in (7, 9):
        np.save(path / f"I3DFeatures/{n}_i3d.npy", np.zeros((10, n, WIDTH)))
    config = {"seed": 1, "visual_layers": 4, "attn_window": 4, "classifier_bias": 0.0}
    torch.save({"model_state_dict": golden.released_state(config, WIDTH)}, path / "model_ucf.pth")
    return path


# what makes a command short enough for a test
SHORTER = (
    ("--max-epoch 16", "--max-epoch 2"),
    ("--n-videos 1200", "--n-videos 16"),
    ("8 16 32 64 ", ""),
    ("Abuse028_x264 Normal_Videos_003_x264", "Abuse007_x264 Normal_Videos006_x264"),
)


def test_the_commands_and_the_example_of_the_readme_run(project):
    found = commands()
    assert len(found) >= 15
    for command in found:
        assert command.startswith("python "), command
        short = command.removeprefix("python ")
        for long, less in SHORTER:
            short = short.replace(long, less)
        words = shlex.split(short)
        if "ablate.py" in words:  # tests/test_experiments.py runs small grids
            words.insert(words.index("--"), "--dry-run")
        done = ran(words, cwd=project)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert {"ucf_CLIP_rgb.csv", "xd_CLIP_rgb.csv", "lt_CLIP_test.csv"} <= {p.name for p in (project / "list").iterdir()}
    (example,) = blocks("python")
    done = ran(["-c", example], cwd=project)
    assert done.returncode == 0 and len(done.stdout.splitlines()) >= 11, done.stderr


def test_the_benchmark_runs(project):
    flags = ["--feature-root", "UCFClipFeatures", "--batch-size", "8", "--workers", "0", "--visual-layers", "1"]
    done = ran(["benchmark.py", *flags], cwd=project)
    assert done.returncode == 0 and done.stdout.count("times") == 2, done.stderr
    assert done.stdout.count("cameras in real time") == 3


def test_the_figures_are_drawn(project):
    (project / "img").mkdir()
    (project / "grid").mkdir()
    (project / "grid/cells.csv").write_text("row,seed,auc_unsmoothed,chosen\nours,1,0.7,True\nours,1,0.9,False\n")
    (project / "other").mkdir()
    (project / "other/cells.csv").write_text("row,seed,auc_unsmoothed,chosen\nno HMA,1,0.6,True\n")
    for name, arguments in (("overview", []), ("parts", ["I3D=grid,other"])):
        shutil.copy(ROOT / f"img/{name}.py", project / "img")
        assert ran([f"img/{name}.py", *arguments], cwd=project).returncode == 0
        assert (project / f"img/{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_readme_names_every_file():
    text = (ROOT / "README.md").read_text()
    for path in [*ROOT.glob("*.py"), *ROOT.glob("list/*.py")]:
        assert path.name in text
    for path in ROOT.glob("*/__init__.py"):
        assert f"{path.parent.name}/" in text
