"""The rows of experiments, and what a run is called: by the row that its options make it, never by its paths or seed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import option
import ucf_option
from files.folder import read_options

ROWS = {  # the method, its alternatives, and what is left when a part of it is taken away
    "paper": "",
    "released": "--variant released",
    **{f"{rule} rule" if rule in option.VARIANTS else rule: f"--forgetting {rule}" for rule in [*option.FORGETTING][1:]},
    "interleaved merge": "--attn-merge interleave",
    "no memory": "--cache-keep-max-len 1",
    "no KCG": "--no-keyclip-train",
    "no early exit": "--exit-threshold 1",
    "no HMA": "--visual-layers 0",
    "ours": "--variant ours",
    "ours, no motion": "--variant ours --motion 0",
    "ours, no novelty": "--variant ours --novelty 0",
    "ours, no channels": "--variant ours --no-channels",
    "ours, no co-training": "--variant ours --no-co-training",
    "ours, no weight average": "--variant ours --weight-average 0",
}
TRAINING = tuple(flag.name for flag in option.FLAGS["training"])
SAID = {*option.MODEL, *TRAINING, *option.TESTING} - {"seed", "variant"}  # a variant is said by what it stands for


def changes_of(flags: str) -> dict[str, Any]:
    """The options that a row's flags set, a variant as what it stands for."""
    options = vars(option.parse(ucf_option.parser, flags.split()))
    changes = {name: options[name] for name in options["given"]}
    return option.VARIANTS.get(changes.pop("variant", None), {}) | changes


def what_it_is(options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The rows whose flags agree with the options of a run, those of most flags first, and the options they do not speak of."""
    rest, names = {name: value for name, value in (option.ADDED | dict(options)).items() if name in SAID}, []
    rows = {row: changes_of(flags) for row, flags in ROWS.items() if flags}
    for row, changes in sorted(rows.items(), key=lambda row: -len(row[1])):
        if changes.items() <= rest.items():
            names.append(row)
            rest = {name: value for name, value in rest.items() if name not in changes}
    return ", ".join(names) or "paper", rest


def names_of(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each run is called: its rows, and of its other options those in which it differs from another one."""
    known = [what_it_is(options) for options in runs]
    names = []
    for row, rest in known:
        apart = [name for name, value in rest.items() if any(other.get(name, value) != value for _, other in known)]
        names.append(", ".join([row, *(said(name, rest[name]) for name in apart)]))
    return names


def differing(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The flags, seed and paths aside, in which these runs differ, as far as all of them say."""
    shared = SAID.intersection(*runs)
    return sorted(option.flag_of(name) for name in shared if any(run[name] != runs[0][name] for run in runs))


def said(name: str, value: Any) -> str:
    """`lr 1e-4`, `no-keyclip-train`: an option as its flag."""
    flag = option.flag_of(name).removeprefix("--")
    if isinstance(value, bool):
        return flag if value else f"no-{flag}"
    if isinstance(value, list):
        return " ".join([flag, *map(str, value)])
    small = isinstance(value, float) and 0 < abs(value) < 1e-3
    text = np.format_float_scientific(value, trim="-", exp_digits=1) if small else str(value)
    return f"{flag} {text.removesuffix('.0')}"


def options_of(folder: Path) -> dict[str, Any]:
    """The options of a run, as far as they had a part in it. Raises FileNotFoundError or ValueError where it is none.

    Those of training are, of a test, the ones of the training whose folder its checkpoint lies in; else nobody knows them.
    """
    options = read_options(folder)
    if (folder / "log.jsonl").exists():
        return options
    known = {name: value for name, value in options.items() if name not in TRAINING}
    trained = Path(options.get("model_path") or "").parent
    if (trained / "log.jsonl").exists():
        known |= {name: value for name, value in read_options(trained).items() if name in TRAINING}
    return known
