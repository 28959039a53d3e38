"""Make the training list, the test list and the ground truth that fits it, from a folder of features and its annotations.

    python list/make_list.py ucf --feature-root UCFClipFeatures --annotations Temporal_Anomaly_Annotation.txt
    python list/make_list.py xd --feature-root XDFeatures --annotations annotations.txt
    python list/make_list.py longterm --feature-root MyFeatures --annotations my_annotations.txt --frames my_frames.csv

Paths are written relative to the feature folder. Names that stand on one side only are listed, and are an error unless
--allow-missing is given. Nothing is written before everything has been checked.
"""

import argparse
import contextlib
import csv
import io
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from files import atomic
from files.videos import FRAMES_PER_SNIPPET, UCF_ANOMALIES, fit, is_anomalous, open_features, video_name
from option import Parser, exit_codes

OUTPUTS = {  # training list, test list, ground truth
    "ucf": ("ucf_CLIP_rgb.csv", "ucf_CLIP_rgbtest.csv", "gt_ucf.npy"),
    "xd": ("xd_CLIP_rgb.csv", "xd_CLIP_rgbtest.csv", "gt.npy"),
    "longterm": (None, "lt_CLIP_test.csv", "gt_lt.npy"),
}
TEST_CROP = {"ucf": 5, "xd": 0, "longterm": 0}
N_CROPS = 10
UCF_FOLDERS = {
    **{name: name for name in UCF_ANOMALIES},
    "Training_Normal_Videos_Anomaly": "Normal",
    "Testing_Normal_Videos_Anomaly": "Normal",
}
XD_TRAIN, XD_TEST = "XDTrainClipFeatures", "XDTestClipFeatures"


class Features(NamedTuple):
    """The feature files of one video."""

    label: str
    training: bool  # whether its folder says that it is a training video
    crops: dict[int, Path]


def index(root: Path, data_set: str) -> dict[str, Features]:
    """All videos under a folder, by name. Raises ValueError where a file's place or name says nothing, or a name is double."""
    found: dict[str, Features] = {}
    places: dict[str, Path] = {}
    for path in sorted(root.rglob("*.npy")):
        name = video_name(path.name)
        crop = re.search(r"__([0-9]+)$", path.stem)
        if crop is None and data_set != "longterm":
            raise ValueError(f"{path}: expected a name that ends in its crop, like {path.stem}__0.npy")
        label, training = LAYOUTS[data_set](path, name)
        video = found.setdefault(name, Features(label, training, {}))
        n = int(crop[1]) if crop else TEST_CROP["longterm"]
        if places.setdefault(name, path.parent) != path.parent or n in video.crops:
            raise ValueError(
                f"{path}: another file of {name} is in {places[name]}; each video has one folder, each crop one file"
            )
        video.crops[n] = path
    if not found:
        raise FileNotFoundError(f"--feature-root {root}: no .npy files in it")
    return found


def ucf_layout(path: Path, name: str) -> tuple[str, bool]:
    """Label and split from the folder; of anomalous videos only the annotations say which are for testing."""
    folder = path.parent.name
    if folder not in UCF_FOLDERS:
        raise ValueError(f"{path}: expected a folder named after a class or {', '.join(list(UCF_FOLDERS)[-2:])}")
    return UCF_FOLDERS[folder], folder != "Testing_Normal_Videos_Anomaly"


def xd_layout(path: Path, name: str) -> tuple[str, bool]:
    """Label from the name, split from the folder."""
    split = [part for part in path.parts if part in (XD_TRAIN, XD_TEST)]
    label = re.search(r"_label_([A-Z0-9-]+)$", name)
    if not split or label is None:
        raise ValueError(f"{path}: expected {XD_TRAIN}/ or {XD_TEST}/ and a name like <title>_label_B2-0-0__0.npy")
    text = "-".join(part for part in label[1].split("-") if part != "0")
    try:
        is_anomalous(text, "xd")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return text, split[-1] == XD_TRAIN


def longterm_layout(path: Path, name: str) -> tuple[str, bool]:
    """Any folders; every video is for testing, and its label follows from the annotations."""
    return "", False


LAYOUTS = {"ucf": ucf_layout, "xd": xd_layout, "longterm": longterm_layout}


class Annotation(NamedTuple):
    """What the annotation file says of one video."""

    label: str | None  # UCF-Crime's class; the other files have none
    intervals: list[tuple[int, int]]  # [start, end) in frames
    where: str  # file and line


def read_text(path: Path, flag: str) -> str:
    """The text of a file that a flag names. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"{flag} {path}: no such file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{flag} {path}: expected text in UTF-8 ({error})") from error


def read_annotations(path: Path, data_set: str) -> dict[str, Annotation]:
    """What is annotated of each video.

    UCF-Crime: `name class start1 end1 start2 end2` with -1 for none; else `name start end [start end ...]`.
    """
    found = {}
    for n, line in enumerate(read_text(path, "--annotations").splitlines(), 1):
        if not line.split():
            continue
        name, *numbers = line.split()
        label, numbers = (numbers[0], numbers[1:]) if data_set == "ucf" and numbers else (None, numbers)
        complete = len(numbers) % 2 == 0 and (data_set != "ucf" or numbers)
        if not complete or not all(re.fullmatch(r"-1|[0-9]{1,9}", number) for number in numbers):
            expected = "name class start1 end1 start2 end2" if data_set == "ucf" else "name start end [start end ...]"
            raise ValueError(f"{path}, line {n}: expected {expected!r}, found {line.strip()[:80]!r}")
        pairs = [(int(a), int(b)) for a, b in zip(numbers[::2], numbers[1::2], strict=True)]
        backwards = [pair for pair in pairs if (-1 in pair and pair != (-1, -1)) or pair[0] > pair[1]]
        if backwards:
            raise ValueError(f"{path}, line {n}: expected an interval from start to end, found {backwards[0]}")
        name = re.sub(r"\.(mp4|avi|mkv)$", "", name)
        if name in found:
            raise ValueError(f"{path}, line {n}: {name} is there twice")
        found[name] = Annotation(label, [pair for pair in pairs if pair != (-1, -1)], f"{path}, line {n}")
    if not found:
        raise ValueError(f"{path}: no videos in it")
    return found


def read_frames(path: Path | None) -> dict[str, int]:
    """True frame counts by video, from a CSV file with the columns video,frames."""
    if path is None:
        return {}
    counts: dict[str, int] = {}
    try:
        rows = csv.DictReader(io.StringIO(read_text(path, "--frames")))
        if not {"video", "frames"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path}, line 1: expected a header with video and frames, found {rows.fieldnames}")
        for row in rows:
            name, n = row["video"], row["frames"] or ""
            if not re.fullmatch(r"[1-9][0-9]{0,9}", n) or counts.get(name, int(n)) != int(n):
                raise ValueError(
                    f"{path}, line {rows.line_num}: expected one number of frames for each video, found {n[:20]!r}"
                )
            counts[name] = int(n)
    except csv.Error as error:
        raise ValueError(f"{path}: not a CSV file ({error})") from error
    if not counts:
        raise ValueError(f"{path}: no videos under the header")
    return counts


def problems(
    videos: Mapping[str, Features], annotations: Mapping[str, Annotation], frames: Mapping[str, int], data_set: str
) -> list[tuple[str, list[str]]]:
    """What stands on one side only: (what it is, the names)."""
    test_crop = TEST_CROP[data_set]
    kinds = [
        ("annotated videos without features", [n for n in annotations if n not in videos]),
        (
            f"annotated videos without crop {test_crop}",
            [n for n in annotations if n in videos and test_crop not in videos[n].crops],
        ),
    ]
    test = [name for name, video in videos.items() if not video.training and name not in annotations]
    if data_set == "xd":
        test = [name for name in test if is_anomalous(videos[name].label, "xd")]
    kinds.append(("test videos without annotation", test))
    training = {n: v for n, v in videos.items() if v.training and n not in annotations}
    incomplete = [n for n, v in training.items() if sorted(v.crops) != list(range(N_CROPS))]
    kinds.append((f"training videos without all of their {N_CROPS} crops", incomplete))
    if frames:
        kinds.append(("videos without a frame count", [n for n in annotations if n in videos and n not in frames]))
        kinds.append(("frame counts without a video", [n for n in frames if n not in videos]))
    return [(kind, names) for kind, names in kinds if names]


def ground_truth(intervals: Iterable[tuple[int, int]], n_frames: int) -> np.ndarray:
    """(n_frames,) float32: 1 in each interval [start, end), clipped to the video.

    A damaged byte of such a file is no longer 0 or 1, and so is noticed; one of a file of single bytes could be.
    """
    truth = np.zeros(n_frames, np.float32)
    for start, end in intervals:
        truth[start:end] = 1
    return truth


def require_same_class(videos: Mapping[str, Features], annotations: Mapping[str, Annotation]) -> None:
    """Raise ValueError where an annotation contradicts itself or the folder of its video."""
    for name, (label, intervals, where) in annotations.items():
        if label is None:
            continue
        if name in videos and videos[name].label != label:
            raise ValueError(f"{where}: {name} is {label} here, but its features are in the folder of {videos[name].label}")
        if (label == "Normal") == bool(intervals):
            raise ValueError(
                f"{where}: {name} is {label}, with {len(intervals)} intervals; normal videos have none, others some"
            )


def test_rows(
    videos: Mapping[str, Features], annotations: Mapping[str, Annotation], frames: Mapping[str, int], data_set: str, root: Path
) -> tuple[list[list[str]], np.ndarray]:
    """The rows of the test list, annotated videos first, and their ground truth."""
    crop = TEST_CROP[data_set]
    names = [name for name in annotations if name in videos and crop in videos[name].crops]
    if data_set == "xd":  # the annotations leave out the normal videos
        normal = [n for n, v in videos.items() if not v.training and v.label == "A" and n not in annotations]
        names += [n for n in normal if crop in videos[n].crops]
    rows, truth = [], []
    for name in names:
        path = videos[name].crops[crop]
        n_snippets = open_features(path, None).shape[0]
        n_frames = frames.get(name, FRAMES_PER_SNIPPET * n_snippets)
        if not fit(n_frames, n_snippets):
            raise ValueError(f"{path}: {n_snippets} snippets of {FRAMES_PER_SNIPPET} frames are not {n_frames} frames")
        intervals = annotations[name].intervals if name in annotations else []
        late = [interval for interval in intervals if interval[0] >= n_frames]
        if late:
            print(
                f"warning: {annotations[name].where}: {late[0]} begins after the {n_frames} frames of {name}", file=sys.stderr
            )
        label = videos[name].label or ("Anomaly" if intervals else "Normal")
        rows.append([path.relative_to(root).as_posix(), label, *([str(n_frames)] if frames else [])])
        truth.append(ground_truth(intervals, n_frames))
    if not rows:
        raise ValueError(f"no test video of the annotations has features in {root}")
    return rows, np.concatenate(truth)


def csv_text(header: list[str], rows: Iterable[list[str]]) -> bytes:
    """A CSV file's content."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()


def make(
    data_set: str, root: Path, annotations_path: Path, *, frames_path: Path | None, out: Path, allow_missing: bool
) -> None:
    """Write the lists and the ground truth of a data set. Raises ValueError or OSError before anything is written."""
    if not root.is_dir():
        raise FileNotFoundError(f"--feature-root {root}: no such folder")
    videos, annotations, frames = index(root, data_set), read_annotations(annotations_path, data_set), read_frames(frames_path)
    found = problems(videos, annotations, frames, data_set)
    for kind, names in found:
        print(f"{len(names)} {kind}:", *names, sep="\n  ", file=sys.stderr)
    if found and not allow_missing:
        raise ValueError("the features and the annotations do not match (see above); mend them, or pass --allow-missing")
    if frames:
        annotations = {name: annotation for name, annotation in annotations.items() if name in frames}
    require_same_class(videos, annotations)
    rows, truth = test_rows(videos, annotations, frames, data_set, root)
    training = [
        [path.relative_to(root).as_posix(), video.label]
        for name, video in videos.items()
        if video.training and name not in annotations
        for _, path in sorted(video.crops.items())
    ]
    train_name, test_name, truth_name = OUTPUTS[data_set]
    if train_name and not training:
        print(f"warning: {root} has no training videos; the training list will be empty", file=sys.stderr)
    for path, _ in training:
        open_features(root / path, None)
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as written:  # all are written before the first replaces an earlier one
        if train_name:
            file = written.enter_context(atomic.replacing(out / train_name))
            file.write(csv_text(["path", "label"], training))
        file = written.enter_context(atomic.replacing(out / test_name))
        file.write(csv_text(["path", "label", "frames"][: len(rows[0])], rows))
        np.save(written.enter_context(atomic.replacing(out / truth_name)), truth)
    if train_name:
        print(f"{out / train_name}: {len(training):,} rows")
    print(f"{out / test_name}: {len(rows):,} rows")
    print(f"{out / truth_name}: {len(truth):,} frames, {truth.sum(dtype=int):,} of them anomalous")


parser = Parser(description="Make a data set's lists and ground truth.")
parser.add_argument("data_set", choices=tuple(OUTPUTS), help="whose layout and annotations these are; longterm = any own set")
parser.add_argument("--feature-root", type=Path, required=True, help="folder of the .npy files")
parser.add_argument("--annotations", type=Path, required=True, help="the public annotation file, or one like XD-Violence's")
parser.add_argument("--frames", type=Path, help="CSV with the columns video,frames: the videos' true frame counts")
parser.add_argument("--out", type=Path, default=Path("list"), help="folder to write to")
parser.add_argument(
    "--allow-missing", action=argparse.BooleanOptionalAction, default=False, help="go on without what is missing"
)

if __name__ == "__main__":
    args = parser.parse_args()
    with exit_codes():
        make(
            args.data_set,
            args.feature_root,
            args.annotations,
            frames_path=args.frames,
            out=args.out,
            allow_missing=args.allow_missing,
        )
