"""The house: which way imports point, that importing does nothing, and that every flag is read."""

import argparse
import ast
import re
import subprocess
import sys

import pytest
from conftest import ROOT

import ucf_option
import xd_option

READERS = ("engine", "resume", "scores", "scoring", "training", "option")  # of the options
SCRIPTS = ("xd_train", "ucf_train", "xd_test", "ucf_test", "longterm_test")
IMPORTS = {  # what each module imports of ours: the picture of the house
    "atomic": set(),
    "kcg": set(),
    "hma": set(),
    "smoothing": set(),
    "curves": set(),
    "option": set(),
    "checkpoint": {"atomic"},
    "npy": set(),
    "interrupt": set(),
    "videos": {"npy"},
    "events": {"curves", "videos"},
    "scores": {"smoothing", "videos"},
    "bootstrap": {"curves"},
    "tables": {"videos"},
    "metrics": {"atomic", "bootstrap", "curves", "events", "option", "scores", "tables", "videos"},
    "figures": {"atomic", "curves", "videos"},
    "report": {"atomic", "events", "figures", "metrics", "option", "scores", "smoothing", "tables", "videos"},
    "dataset": {"videos"},
    "model": {"kcg", "hma"},
    "scoring": {"atomic", "curves", "dataset", "metrics", "model", "scores", "videos"},
    "engine": {
        *("atomic", "checkpoint", "figures", "metrics", "model"),
        *("option", "report", "scores", "scoring", "tables", "videos"),
    },
    "resume": {"checkpoint", "option", "videos"},
    "training": {
        *("atomic", "checkpoint", "dataset", "engine", "figures", "interrupt"),
        *("model", "option", "resume", "scoring", "videos"),
    },
    "ucf_option": {"option"},
    "xd_option": {"option"},
    "ucf_train": {"engine", "training", "ucf_option"},
    "xd_train": {"engine", "training", "xd_option"},
    "ucf_test": {"engine", "ucf_option"},
    "xd_test": {"engine", "xd_option"},
    "longterm_test": {"engine", "ucf_option"},
    "grid": {"atomic", "option", "ucf_option", "xd_option"},
    "compare": {"bootstrap", "curves", "figures", "grid", "metrics", "scores"},
    "ablate": {"atomic", "grid", "option", "compare"},
    "demo": {"atomic", "option"},
    "benchmark": {"engine", "kcg", "option", "scoring", "training", "ucf_option"},
}


def test_imports_point_one_way():
    modules = {path.stem for path in ROOT.glob("*.py")}
    assert modules == set(IMPORTS)
    for name, allowed in IMPORTS.items():
        found = set()
        for node in ast.walk(ast.parse((ROOT / f"{name}.py").read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module.split(".")[0])
        assert found & modules == allowed, name


def test_the_core_needs_no_optional_package():
    code = "import sys; import hma, kcg, model, metrics; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    code = "import sys; import metrics; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_importing_prints_nothing_and_opens_no_window_on_arguments(tmp_path):
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['x', '--nonsense']; import {', '.join(IMPORTS)}"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", [ucf_option, xd_option])
def test_every_flag_is_read_has_a_help_and_a_type(option):
    sources = "\n".join((ROOT / f"{name}.py").read_text() for name in READERS)
    for action in option.parser._actions:
        if action.dest == "help":
            continue
        read = re.search(rf"options(\.|\[\"){action.dest}\b|MODEL = \([^)]*\"{action.dest}\"", sources)
        assert read, f"nothing reads --{action.dest}"
        assert action.help
        assert action.type is not bool
        if action.type is None and not action.choices and not isinstance(action, argparse.BooleanOptionalAction):
            assert isinstance(option.parser.get_default(action.dest), str | None)


def test_both_data_sets_set_the_same_hyper_parameters():
    names = [re.findall(r"^    (\w+)=", (ROOT / f"{name}.py").read_text(), re.M) for name in ("ucf_option", "xd_option")]
    assert names[0] == names[1]


def test_scripts_are_wiring():
    for name in SCRIPTS:
        body = ast.parse((ROOT / f"{name}.py").read_text()).body
        assert not any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in body)


def test_ruff_is_clean():
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *command, "."], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
