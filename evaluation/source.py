"""What a report is made of: the folder of a run of ours, or any method's scores, and their ground truth if there is one.

Shapes: S snippets and F frames of all videos.
"""

import json
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evaluation.evaluate import Terms
from evaluation.scores import Record, Scores, columns_of
from evaluation.scores_file import FORMAT, checked, read_arrays, read_record, record_of
from files.folder import read_options
from files.names import video_name
from files.truth import checked_truth, read_ground_truth
from files.videos import Video
from option import FLAGS, flag_of

OF_FILES = ("gt_path", "test_list", "normal_label", "hold_last")  # what a file of scores may need said, and a run says itself

# the flags of what the figures of a live system depend on, where a run says it else
LIVE = [flag._replace(default=None, help=f"{flag.help}; None = the run's, or {flag.default:g}") for flag in FLAGS["live"]]
NO_TRUTH = "no ground truth: scores alone"
NEEDED = ("data_set", "variant", "visual_layers", "attn_window", "smooth", "smooth_width", "smooth_pad", *Terms._fields)


class Ours(NamedTuple):
    """What only scores of ours have."""

    record: Record  # its logits, exit layers and key clips are shown
    options: dict[str, Any]  # of a run; nothing of a file alone
    history: list[dict]  # the evaluations of a training

    @property
    def n_layers(self) -> int:
        """The model's, or, of a file alone, as many as it shows."""
        known = self.options.get("visual_layers")
        return int(self.record.exit_layer.max()) if known is None else known


class Source(NamedTuple):
    """A method's scores, and what they are compared with."""

    name: str
    columns: dict[str, Scores]  # smoothed in each way that is reported; the first is drawn
    truth: np.ndarray | None  # (F,); None where nobody knows
    terms: Terms
    ours: Ours | None = None  # None of another method

    @property
    def scores(self) -> Scores:
        return next(iter(self.columns.values()))


def read(path: Path, given: Namespace) -> Source:
    """The source at a path, a folder or a file. Raises ValueError or OSError that says what is wrong with it."""
    if not path.is_dir():
        return read_file(path, given, bare=True)
    flags = [flag_of(name) for name in OF_FILES if getattr(given, name)]
    if flags:
        raise ValueError(
            f"{path} is a folder, of a run that has its own labels and ground truth: {', '.join(flags)} would be ignored; "
            f"leave that out, or name {path / 'scores.npz'} in the folder's place"
        )
    return read_run(path, given)


def read_run(folder: Path, given: Namespace | None = None) -> Source:
    """Read the folder of a run, its terms as they are `given`.

    Raises FileNotFoundError or ValueError where it is none, or of another version.
    """
    options, log = with_given(read_options(folder), given), folder / "log.jsonl"
    require_rate(options, folder)
    if lacking := [flag_of(name) for name in NEEDED if options.get(name) is None]:
        raise ValueError(f"{folder / 'options.json'}: without {', '.join(lacking)}: damaged; copy it, or run it, again")
    ours = Ours(read_record(folder / "scores.npz"), options, evaluations_in(log) if log.exists() else [])
    if ours.record.exit_layer.max() > options["visual_layers"] or ours.record.exit_layer.min() < 0:
        raise ValueError(f"{folder / 'scores.npz'}: exit layers that the model of options.json has not; run the test again")
    if ours.record.truth is None and options["data_set"] != "predict":
        raise ValueError(
            f"{folder}: a test's scores without ground truth: damaged; run the test again, or name scores.npz alone"
        )
    columns = columns_of(ours.record.scores.videos, ours.record.logits, options)
    return Source(str(folder), columns, ours.record.truth, terms_in(options), ours)


def require_rate(options: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError where videos were predicted at several frame rates, and nothing says at which one to take all."""
    if options.get("data_set") == "predict" and options.get("fps") is None:
        raise ValueError(f"{path}: its videos have several frame rates, as their videos/*.csv have; --fps puts all at one")


def evaluations_in(log: Path) -> list[dict]:
    """The evaluations in the log of a training. Raises ValueError that names the line that is none of a log."""
    entries = []
    for n, line in enumerate(log.read_text(errors="replace").splitlines(), 1):
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if not isinstance(entry, dict) or not {"step", "loss"} <= entry.keys():
            raise ValueError(f"{log}, line {n}: not an entry of a training's log; copy it again, or move it away")
        entries.append(entry)
    return [entry for entry in entries if "auc" in entry]


def read_file(path: Path, given: Namespace, bare: bool = False) -> Source:
    """Read a file of scores, with `bare` one without ground truth too. Raises FileNotFoundError or ValueError."""
    content = read_arrays(path)
    if bare and not given.gt_path and "truth" not in content:
        scores, truth = checked_for(given, content, path), None
    else:
        scores, truth = with_truth(content, path, given)
    ours = None
    if str(content.get("format")) == FORMAT:
        ours = Ours(record_of({name: array for name, array in content.items() if name != "truth"}, path), {}, [])
    usual = {flag.name: flag.default for flag in FLAGS["live"]}
    if ours and is_run(path):  # tested with its own
        usual |= {name: value for name, value in read_options(path.parent).items() if name in (*Terms._fields, "data_set")}
    options = with_given(usual, given)
    require_rate(options, path)
    return Source(str(path), {path.stem: scores}, truth, terms_in(options), ours)


def is_run(path: Path) -> bool:
    """Whether a file holds the scores of a run of ours."""
    return path.name == "scores.npz" and (path.parent / "options.json").exists()


def checked_for(given: Namespace, content: dict[str, np.ndarray], path: Path) -> Scores:
    """The scores in the arrays of a file, of the list that is given. Raises FileNotFoundError or ValueError."""
    return checked(content, path, given.test_list, hold_last=given.hold_last, normal_label=given.normal_label)


def with_truth(content: dict[str, np.ndarray], path: Path, given: Namespace) -> tuple[Scores, np.ndarray]:
    """The scores in the arrays of a file, and the (F,) ground truth, that of --gt-path or the array `truth`.

    Raises FileNotFoundError or ValueError.
    """
    scores = checked_for(given, content, path)
    of = scores.videos, given.test_list or path
    if given.gt_path:
        return scores, read_ground_truth(given.gt_path, *of)
    if "truth" not in content:
        raise ValueError(
            f"{path}: no ground truth in it: no array named truth among {', '.join(content)}; give --gt-path FILE, or call the "
            "array that has it, 0 or 1 per frame, truth"
        )
    return scores, checked_truth(content["truth"], path, *of)


def left_out(source: Source) -> list[str]:
    """What the report of a source lacks, and why, a line each."""
    videos, lines = source.scores.videos, []
    if source.truth is None:
        lines.append(f"{source.name}: {NO_TRUTH}, no figures and curves; with one, name its scores.npz and --gt-path")
    unknown = [video.name for video in videos if video.classes is None]
    if unknown and source.truth is not None:
        lines.append(f"{len(unknown)} of {len(videos)} videos, {unknown[0]} the first, have no label and are in no class; "
                     "--test-list says labels")  # fmt: skip
    if not source.ours:
        lines.append(
            f"{source.name} has scores alone: no other smoothings, key clips, exit layers and training curves are shown"
        )
    return lines


def with_given(options: Mapping[str, Any], given: Namespace | None) -> dict[str, Any]:
    """The options, but with the terms that are given."""
    terms = {name: getattr(given, name, None) for name in Terms._fields}
    return {**options, **{name: value for name, value in terms.items() if value is not None}}


def terms_in(options: Mapping[str, Any]) -> Terms:
    """What the figures of a live system depend on."""
    return Terms(**{name: options[name] for name in Terms._fields})


def places_of(names: Iterable[str], videos: Sequence[Video]) -> list[int]:
    """The indices of the videos of these names. Raises ValueError for another name, with those that are like it."""
    places = {video.name: i for i, video in enumerate(videos)}
    names = list(dict.fromkeys(map(video_name, names)))
    for name in names:
        if name not in places:
            near = get_close_matches(name, places, n=5)
            like = f"those most like it: {', '.join(near)}" if near else f"the first is {videos[0].name}"
            raise ValueError(f"--videos {name}: not among the {len(videos)} videos; {like}")
    return [places[name] for name in names]
