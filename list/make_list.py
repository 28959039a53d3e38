"""Make the training list, the test list and the ground truth that fits it, from a folder of features and its annotations.

    python list/make_list.py ucf --feature-root UCFClipFeatures --annotations Temporal_Anomaly_Annotation.txt
    python list/make_list.py xd --feature-root XDFeatures --annotations annotations.txt
    python list/make_list.py longterm --feature-root MyFeatures --annotations my_annotations.txt --frames my_frames.csv

Three tables, of files, annotations and frame counts, are joined by the videos' names. Every feature file ends in the training
list, in the test list, or, with the reason, in the list of what is left out. What does not match is named, and is an error
unless --allow-missing is given. Nothing is written before everything has been checked.
"""

import argparse
import contextlib
import re
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from files import atomic, folder
from files.annotations import read_annotations, read_frames
from files.features import CONVERT, FRAMES_PER_SNIPPET, misfit, open_features
from files.labels import classes_of
from files.layouts import HIDDEN, NO_CROP, read_files
from files.lists import refuse, several
from files.names import N_CROPS
from files.progress import bar
from option import HOLD_LAST, Parser, add_flags, exit_codes

OUTPUTS = {  # training list, test list, ground truth, what is left out
    "ucf": ("ucf_CLIP_rgb.csv", "ucf_CLIP_rgbtest.csv", "gt_ucf.npy", "ucf_left_out.csv"),
    "xd": ("xd_CLIP_rgb.csv", "xd_CLIP_rgbtest.csv", "gt.npy", "xd_left_out.csv"),
    "longterm": (None, "lt_CLIP_test.csv", "gt_lt.npy", "lt_left_out.csv"),
}
TEST_CROP = {"ucf": 5, "xd": 0, "longterm": 0}
TRAINING, TEST, OTHER_CROP = "training", "test", "other crops of test videos"


def with_crops(files: pd.DataFrame, test_crop: int | None, data_set: str) -> tuple[pd.DataFrame, int | None]:
    """The files with a crop for those whose name says none, and the crop to test; None = the one that each video has.

    Raises ValueError where a video has a crop twice, or files in two folders.
    """
    if test_crop is None and not files["name"].duplicated().any():
        print(f"each video has one crop, which is tested; crops by number: {counts_of(files['crop'])}")
        return files, None
    chosen = TEST_CROP[data_set] if test_crop is None else test_crop
    files = files.assign(crop=files["crop"].replace(NO_CROP, chosen))
    folder = files["path"].str.rpartition("/")[0]
    clash = files.duplicated(["name", "crop"]) | (folder != folder.groupby(files["name"]).transform("first"))
    if clash.any():
        path, name = files.loc[clash, ["path", "name"]].iloc[0]
        other = files.loc[files["name"] == name, "path"].iloc[0]
        raise ValueError(f"{path}: another file of {name} is {other}; each video has one folder, each crop one file")
    return files, chosen


def counts_of(crops: pd.Series) -> str:
    """`5 in 290 videos`"""
    names = crops.map(lambda crop: "none" if crop == NO_CROP else str(crop))
    return ", ".join(f"{name} in {n} videos" for name, n in names.value_counts().items())


def fates(
    files: pd.DataFrame, annotations: pd.DataFrame, frames: pd.DataFrame | None, test_crop: int | None, data_set: str
) -> pd.DataFrame:
    """What becomes of each video on any side: an outer join of the three tables by name, and the column fate.

    A fate is TRAINING, TEST, or the reason why the video is left out.
    """
    videos = files.groupby("name", sort=False).agg(label=("label", "first"), test=("test", "any"), crops=("crop", set))
    counts = pd.DataFrame(columns=["n_frames"]) if frames is None else frames.set_index("name")
    joined = pd.concat([annotations.set_index("name"), videos, counts], axis=1)  # an outer join, in the order of the tables
    annotated, has_files = joined["where"].notna(), joined["label"].notna()
    normal = joined["label"].map(lambda label: data_set == "xd" and label == "A")  # XD's annotations leave them out
    testing = annotated | joined["test"].eq(True)
    has_crop = joined["crops"].map(lambda crops: isinstance(crops, set) and (test_crop is None or test_crop in crops))
    lost = {loose(name) for name in joined.index[annotated & ~has_files]}  # annotated, and nowhere under that name
    stems = {stem(name) for name in joined.index[testing]}
    like = pd.Series([loose(name) in lost or bool(beginnings(name) & stems) for name in joined.index], joined.index)
    fate = pd.Series(TRAINING, joined.index)
    for reason, where in (  # the last that holds is the fate
        (TEST, testing),
        ("training videos that may be test videos, written another way", has_files & ~testing & like),
        (f"test videos without crop {test_crop}", testing & has_files & ~has_crop),
        ("test videos without annotation", testing & has_files & ~annotated & ~normal),
        ("annotated videos without features", annotated & ~has_files),
        ("frame counts without a video", ~annotated & ~has_files),
    ):
        fate[where] = reason
    if frames is not None:
        fate[(fate == TEST) & joined["n_frames"].isna()] = "test videos without a frame count"
    return joined.assign(fate=fate)


def stem(name: str) -> str:
    """A name whatever its case, and without `_x264`."""
    return name.casefold().replace("_x264", "")


def loose(name: str) -> str:
    """A name as a person might remember it: case, signs and `_x264` aside."""
    return re.sub(r"[\W_]+", "", stem(name))


def beginnings(name: str) -> set[str]:
    """The whole of a name and what stands before each sign in it: `abuse001 (1)` -> `abuse001 (1)`, `abuse001`, ..."""
    name = stem(name)
    return {name, *(name[: sign.start()] for sign in re.finditer(r"[\W_]", name))}


def require_same_class(videos: pd.DataFrame) -> None:
    """Raise ValueError where an annotation contradicts itself or the folder of its video."""
    for name, video in videos[videos["class"].notna()].iterrows():
        label, n, where = video["class"], len(video["intervals"]), video["where"]
        if isinstance(video["label"], str) and video["label"] != label:
            raise ValueError(f"{where}: {name} is {label} here, but its features are in the folder of {video['label']}")
        if (label == "Normal") == bool(n):
            raise ValueError(f"{where}: {name} is {label}, with {n} intervals; normal videos have none, others some")


def lengths_of(files: pd.DataFrame, root: Path) -> pd.Series:
    """The snippets of each file, by its path. Raises ValueError that counts the files that cannot be used, and names the first.

    All files must have one width.
    """
    shapes, bad = {}, []
    for path in bar(files["path"], "reading headers", len(files), unit="file"):
        try:
            shapes[path] = open_features(root / path, None).shape
        except (ValueError, OSError) as error:
            bad.append(str(error))
    refuse(bad, f"{len(bad)} feature files cannot be used")
    lengths, widths = (pd.Series({path: shape[axis] for path, shape in shapes.items()}, dtype=int) for axis in (0, 1))
    width = widths.mode().iloc[0] if len(widths) else 0
    if widths.nunique() > 1 and lengths.nunique() == 1:
        raise ValueError(f"{root}: the files share {lengths.iloc[0]} rows, not columns: the other way round, (D, L); {CONVERT}")
    odd = [f"{root / path}: width {other}" for path, other in widths[widths != width].items()]
    refuse(odd, f"{len(odd)} files have another width than {width}, which most have")
    return lengths


def with_truth(tests: pd.DataFrame, n_snippets: pd.Series, root: Path, hold_last: bool) -> pd.DataFrame:
    """The test videos with their true frames, label and ground truth, 1 in each interval [start, end), in columns of these
    names. Raises ValueError where frames and snippets do not fit; says which intervals are cut at the video's end.
    """
    n_frames = tests["n_frames"].fillna(FRAMES_PER_SNIPPET * n_snippets).astype(int)
    wrong = [
        f"{root / path}: {problem}"
        for path, n, length in zip(tests["path"], n_frames, n_snippets, strict=True)
        if (problem := misfit(n, length, hold_last))
    ]
    refuse(wrong, f"{len(wrong)} videos do not fit their frames")
    truths, labels, cut, wrong = [], [], [], []
    for (_, video), n in zip(tests.iterrows(), n_frames, strict=True):
        truth = np.zeros(n, np.float32)  # a damaged byte of such a file is no longer 0 or 1; of single bytes it could be
        intervals = video["intervals"] if isinstance(video["intervals"], list) else []
        for start, end in intervals:
            truth[start:end] = 1
        label = video["label"] or ("Anomaly" if intervals else "Normal")
        if bool(classes_of(label, None)) != truth.any():
            what = "some are" if truth.any() else "none is"
            wrong.append(
                f"{video['where']}: {video['name']} is {label}, but {what} anomalous of its {n} frames, by {intervals}"
            )
        cut += [f"{video['where']}: {pair} is cut to the {n} frames of {video['name']}" for pair in intervals if pair[1] > n]
        truths.append(truth)
        labels.append(label)
    refuse(wrong, f"{len(wrong)} videos contradict their annotations")
    if cut:
        what = f"warning: {len(cut)} intervals end after their video (another frame rate?)"
        print("\n  ".join([f"{what}:", *cut]), file=sys.stderr)
    return tests.assign(n_frames=n_frames, label=labels, truth=truths)


def complain(fate: pd.Series, files: pd.DataFrame, every: pd.DataFrame, allowed: bool) -> None:
    """Name what does not match, by what is the matter. Raises ValueError unless that is allowed."""
    kinds = {kind: list(names.index) for kind, names in fate[~fate.isin([TRAINING, TEST])].groupby(fate, sort=False)}
    trained = files[files["name"].map(fate) == TRAINING].groupby("name", sort=False)["crop"].agg(set)
    crops = set().union(*trained) if len(trained) else set()
    kinds[f"training videos without all of their {len(crops)} crops"] = list(trained.index[trained.map(lambda of: of != crops)])
    kinds |= {reason: list(rows["path"]) for reason, rows in every.groupby("reason", sort=False) if reason not in ("", HIDDEN)}
    kinds = {kind: names for kind, names in kinds.items() if names}
    for kind, names in kinds.items():
        print(f"{len(names)} {kind}:", *names, sep="\n  ", file=sys.stderr)
    if kinds and not allowed:
        raise ValueError("the features and the annotations do not match (see above); mend them, or pass --allow-missing")


def csv_bytes(table: pd.DataFrame) -> bytes:
    """A CSV file's content."""
    return table.to_csv(index=False, lineterminator="\n").encode()


def make(args: Namespace) -> None:
    """Write the lists and the ground truth of a data set. Raises ValueError or OSError before anything is written."""
    root, data_set = args.feature_root, args.data_set
    train_name, test_name, truth_name, left_name = (args.out / name if name else None for name in OUTPUTS[data_set])
    folder.require_writable([path for path in (train_name, test_name, truth_name, left_name) if path], "--out")
    every = read_files(root, data_set)
    files, test_crop = with_crops(every[every["reason"] == ""], args.test_crop, data_set)
    annotations = read_annotations(args.annotations, data_set)
    frames = read_frames(args.frames) if args.frames else None
    videos = fates(files, annotations, frames, test_crop, data_set)
    complain(videos["fate"], files, every, args.allow_missing)
    require_same_class(videos)

    fate = files["name"].map(videos["fate"])
    training, other = files[fate == TRAINING], (files["crop"] != test_crop) & (test_crop is not None)
    tests = files[(fate == TEST) & ~other].set_index("name")
    if tests.empty:
        raise ValueError(f"no test video of the annotations has features in {root}")
    tests = tests.join(videos[["intervals", "where", "n_frames"]]).loc[videos.index[videos["fate"] == TEST]]
    lengths = lengths_of(pd.concat([training, tests]), root)
    tests = with_truth(tests.reset_index(), tests["path"].map(lengths).reset_index(drop=True), root, args.hold_last)
    left_out = fate.mask((fate == TEST) & other, OTHER_CROP)
    left_out = pd.concat([every["reason"][every["reason"] != ""], left_out[~left_out.isin([TRAINING, TEST])]]).rename("reason")
    left_out = every[["path"]].join(left_out, how="inner")

    truth = np.concatenate(tests["truth"].tolist())
    columns = ["path", "label", "frames"] if args.frames else ["path", "label"]
    outputs = {test_name: csv_bytes(tests.rename(columns={"n_frames": "frames"})[columns]), left_name: csv_bytes(left_out)}
    if train_name:
        outputs[train_name] = csv_bytes(training[["path", "label"]])
    args.out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as written:  # all are written before the first replaces an earlier one
        for path, content in outputs.items():
            written.enter_context(atomic.replacing(path)).write(content)
        np.save(written.enter_context(atomic.replacing(truth_name)), truth)

    if train_name:
        print(f"{train_name}: {len(training):,} rows")
        if training.empty:
            print(f"warning: {root} has no training videos; the training list is empty", file=sys.stderr)
    print(f"{test_name}: {len(tests):,} rows")
    print(f"{truth_name}: {len(truth):,} frames, {truth.sum(dtype=int):,} of them anomalous")
    say_left_out(left_out, left_name)


def say_left_out(left_out: pd.DataFrame, path: Path) -> None:
    """How many files are left out for what reason, and which, all of them in the file of that path."""
    if len(left_out):
        print(f"{path}: {len(left_out):,} files left out")
    for reason, rows in left_out.groupby("reason", sort=False):
        print(several(f"{len(rows):,} {reason}", rows["path"]))


parser = Parser("Make a data set's lists and ground truth.")
parser.add_argument("data_set", choices=tuple(OUTPUTS), help="whose layout and annotations these are; longterm = any own set")
parser.add_argument("--feature-root", type=Path, required=True, help="folder of the .npy files")
parser.add_argument("--annotations", type=Path, required=True, help="the public annotation file, or one like XD-Violence's")
parser.add_argument("--frames", type=Path, help="CSV with the columns video,frames: the videos' true frame counts")
parser.add_argument("--test-crop", type=int, choices=range(N_CROPS), metavar="N", help="the crop that is tested (None = where "
                    "each video has one crop, that one; else 5 of UCF-Crime, 0 of others)")  # fmt: skip
add_flags(parser.add_argument, [HOLD_LAST])
parser.add_argument("--out", type=Path, default=Path("list"), help="folder to write to")
parser.add_argument(
    "--allow-missing", action=argparse.BooleanOptionalAction, default=False, help="leave out what does not match"
)

if __name__ == "__main__":
    args = parser.parse_args()
    with exit_codes():
        make(args)
