"""Make the training list, the test list and the ground truth that fits it, from a folder of features and its annotations.

    python list/make_list.py ucf --feature-root UCFClipFeatures --annotations Temporal_Anomaly_Annotation.txt
    python list/make_list.py xd --feature-root XDFeatures --annotations annotations.txt
    python list/make_list.py longterm --feature-root MyFeatures --annotations my_annotations.txt --frames my_frames.csv
    python list/make_list.py own --feature-root MyFeatures --annotations my_annotations.txt --test-share 0.2

Three tables, of files, annotations and frame counts, are joined by the videos' names. Every feature file ends in the training
list, in the test list, or, with the reason, in the list of what is left out. What does not match is named, and is an error
unless --allow-missing is given. Nothing is written before everything has been checked.
"""

import contextlib
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from files import atomic, folder
from files.annotations import LINES, read_annotations, read_frames, read_text
from files.crops import layout_of
from files.fates import TEST, TRAINING, UNTOLD, draw, fates, join, require_labels, require_same_class, with_crops
from files.features import CONVERT, FRAMES_PER_SNIPPET, misfit, open_features
from files.labels import LABELS
from files.layouts import NOT_MEANT, read_files
from files.lists import few, refuse, several
from files.names import N_CROPS, video_name
from files.progress import bar
from option import HOLD_LAST, NORMAL_LABEL, SWITCH, Parser, Range, add_flags, flag_of
from running.command import exit_codes

OUTPUTS = {  # training list, test list, ground truth, what is left out
    "ucf": ("ucf_CLIP_rgb.csv", "ucf_CLIP_rgbtest.csv", "gt_ucf.npy", "ucf_left_out.csv"),
    "xd": ("xd_CLIP_rgb.csv", "xd_CLIP_rgbtest.csv", "gt.npy", "xd_left_out.csv"),
    "longterm": (None, "lt_CLIP_test.csv", "gt_lt.npy", "lt_left_out.csv"),
    "own": ("own_train.csv", "own_test.csv", "own_gt.npy", "own_left_out.csv"),
}
OWN_FLAGS = ("class_folders", "test_folder", "test_names", "test_share", "seed", "normal_label")
POSSIBLE = Range(0, 1, open="()")  # of --test-share
OTHER_CROP = "other crops of test videos"
UNFIT, CONTRADICTED = "test videos that do not fit their frames", "test videos that contradict their annotations"


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
    if any(len(shape) == 3 for shape in shapes.values()):
        layout = layout_of({root / path: shape for path, shape in shapes.items()})
        print(f"{layout.n} crops in each file; training takes all, a test the first or, with --crops mean, all")
        shapes = {path: (shape[1 - layout.axis], shape[2]) for path, shape in shapes.items()}
    lengths, widths = (pd.Series({path: shape[axis] for path, shape in shapes.items()}, dtype=int) for axis in (0, 1))
    width = widths.mode().iloc[0] if len(widths) else 0
    if widths.nunique() > 1 and lengths.nunique() == 1:
        raise ValueError(f"{root}: the files share {lengths.iloc[0]} rows, not columns: the other way round, (D, L); {CONVERT}")
    odd = [f"{root / path}: width {other}" for path, other in widths[widths != width].items()]
    refuse(odd, f"{len(odd)} files have another width than {width}, which most have")
    return lengths


def with_truth(tests: pd.DataFrame, n_snippets: pd.Series, args: Namespace) -> pd.DataFrame:
    """The test videos with their true frames, ground truth, 1 in each interval [start, end), and what does not match of them
    or nothing, in columns n_frames, truth and wrong.

    Raises ValueError where something does not, unless that is allowed; says which intervals are cut at the video's end.
    """
    n_frames = tests["n_frames"].fillna(FRAMES_PER_SNIPPET * n_snippets).astype(int)
    truths, cut, wrong = [], [], []
    found = {UNFIT: [], CONTRADICTED: []}
    for (_, video), n, length in zip(tests.iterrows(), n_frames, n_snippets, strict=True):
        truth = np.zeros(n, np.float32)  # a damaged byte of such a file is no longer 0 or 1; of single bytes it could be
        intervals, label, kind = video["intervals"], video["label"], ""
        for start, end in intervals:
            truth[start:end] = 1
        if problem := misfit(n, length, args.hold_last):
            kind, what = UNFIT, f"{args.feature_root / video['path']}: {problem}"
        elif (label != args.normal_label) != truth.any():
            some = "some are" if truth.any() else "none is"
            kind, what = CONTRADICTED, f"{video['where']}: {video['name']} is {label}, but {some} anomalous of its {n} frames"
            what += f", by {intervals}"
        if kind:
            found[kind].append(what)
        else:
            late = [pair for pair in intervals if pair[1] > n]
            cut += [f"{video['where']}: {pair} is cut to the {n} frames of {video['name']}" for pair in late]
        truths.append(truth)
        wrong.append(kind)
    require_alike(found, args.allow_missing)
    if cut:
        what = f"warning: {len(cut)} intervals end after their video (another frame rate?)"
        print("\n  ".join([f"{what}:", *cut]), file=sys.stderr)
    return tests.assign(n_frames=n_frames, truth=truths, wrong=wrong)


def complain(fate: pd.Series, files: pd.DataFrame, every: pd.DataFrame, allowed: bool) -> None:
    """Name what does not match, by what is the matter. Raises ValueError unless that is allowed."""
    kinds = {kind: list(names.index) for kind, names in fate[~fate.isin([TRAINING, TEST])].groupby(fate, sort=False)}
    trained = files[files["name"].map(fate) == TRAINING].groupby("name", sort=False)["crop"].agg(set)
    crops = set().union(*trained) if len(trained) else set()
    if trained.map(len).max() > 1:
        kinds[f"training videos without all of their {len(crops)} crops"] = list(
            trained.index[trained.map(lambda of: of != crops)]
        )
    left = {reason: list(rows["path"]) for reason, rows in every.groupby("reason", sort=False) if reason}
    kinds |= {reason: paths for reason, paths in left.items() if reason not in NOT_MEANT}
    for reason in NOT_MEANT:
        if paths := left.get(reason):
            print(f"{len(paths)} {reason}, are left out: {few(sorted({Path(path).suffix or path for path in paths}))}")
    require_alike(kinds, allowed)


def require_alike(found: dict[str, list[str]], allowed: bool) -> None:
    """Name what does not match, by its kinds. Raises ValueError unless that is allowed."""
    found = {kind: names for kind, names in found.items() if names}
    for kind, names in found.items():
        print(f"{len(names)} {kind}:", *names, sep="\n  ", file=sys.stderr)
    if found and not allowed:
        raise ValueError("the features and the annotations do not match (see above); mend them, or pass --allow-missing")


def csv_bytes(table: pd.DataFrame) -> bytes:
    """A CSV file's content."""
    return table.to_csv(index=False, lineterminator="\n").encode()


def check(args: Namespace) -> None:
    """Fill in the label of normal videos. Raises ValueError where the flags do not go together."""
    own = args.data_set == "own"
    given = [flag_of(name) for name in OWN_FLAGS if getattr(args, name) != parser.get_default(name)]
    if given and not own:
        raise ValueError(f"{given[0]} is for own sets alone; leave it out")
    if own and args.test_folder is args.test_names is args.test_share is None:
        raise ValueError("which videos are for testing? give one of --test-folder, --test-names and --test-share")
    if args.annotations is None and not args.class_folders:
        raise ValueError("--annotations is missing" + ": without --class-folders nothing else says the labels" * own)
    if args.test_share is None and args.seed:
        raise ValueError("--seed is of --test-share; leave it out")
    if args.test_share is not None and args.test_share not in POSSIBLE:
        raise ValueError(f"--test-share must be {POSSIBLE}, not {args.test_share}")
    args.normal_label = args.normal_label or LABELS[args.data_set].normal


def decide(args: Namespace, files: pd.DataFrame, test_crop: int | None) -> pd.DataFrame:
    """The videos of `join`, with their fate. Raises FileNotFoundError or ValueError where that cannot be."""
    data_set, normal = args.data_set, args.normal_label
    annotations = pd.DataFrame(columns=["name", "class", "intervals", "where"])
    if args.annotations:
        annotations = read_annotations(args.annotations, data_set, normal)
    frames = read_frames(args.frames) if args.frames else None
    names = read_text(args.test_names, "--test-names").splitlines() if args.test_names else []
    videos = join(files, annotations, frames, [video_name(name.strip()) for name in names if name.strip()], normal)
    if data_set == "own":
        require_labels(videos, normal)
    if args.test_share:
        videos["test"] = draw(videos, args.test_share, args.seed, normal)
    videos["fate"] = fates(videos, test_crop, data_set, normal)
    weak = videos.index[(videos["fate"] == TRAINING) & (videos["label"] != normal) & ~videos["intervals"].map(bool)]
    if args.test_share and len(weak):
        print(several(f"{len(weak)} anomalous videos without intervals cannot be tested, and train", weak))
    untold = videos.index[videos["fate"] == UNTOLD]
    if args.annotations is None and len(untold):
        raise ValueError(several(f"--annotations is missing: {len(untold)} anomalous test videos need intervals", untold))
    return videos


def make(args: Namespace) -> None:
    """Write the lists and the ground truth of a data set. Raises ValueError or OSError before anything is written."""
    check(args)
    root, data_set = args.feature_root, args.data_set
    train_name, test_name, truth_name, left_name = (args.out / name if name else None for name in OUTPUTS[data_set])
    folder.require_writable([path for path in (train_name, test_name, truth_name, left_name) if path], "--out")
    every = read_files(root, data_set, class_folders=args.class_folders, test_folder=args.test_folder)
    if args.test_folder and not every["test"].any():
        raise ValueError(f"--test-folder {args.test_folder}: no features below a folder of that name in {root}")
    files, test_crop = with_crops(every[every["reason"] == ""], args.test_crop, data_set)
    videos = decide(args, files, test_crop)
    complain(videos["fate"], files, every, args.allow_missing)
    require_same_class(videos, data_set, args.normal_label)

    files, fate = files.assign(label=files["name"].map(videos["label"])), files["name"].map(videos["fate"])
    training, other = files[fate == TRAINING], (files["crop"] != test_crop) & (test_crop is not None)
    tests = files[(fate == TEST) & ~other].set_index("name")
    if tests.empty:
        raise ValueError(f"no test video has features in {root}")
    tests = tests.join(videos[["intervals", "where", "n_frames"]]).loc[videos.index[videos["fate"] == TEST]]
    lengths = lengths_of(pd.concat([training, tests]), root)
    tests = with_truth(tests.reset_index(), tests["path"].map(lengths).reset_index(drop=True), args)
    wrong = tests[tests["wrong"] != ""].set_index("path")["wrong"]
    tests = tests[tests["wrong"] == ""]
    if tests.empty:
        raise ValueError(f"no test video of {root} is left")
    fate = fate.mask(files["path"].isin(wrong.index), files["path"].map(wrong).astype(object))
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
            (file := written.enter_context(atomic.replacing(path))).write(content)
            file.flush()  # a full disk is noticed here, before others are replaced
        np.save(written.enter_context(atomic.replacing(truth_name)), truth)

    if train_name:
        say_rows(train_name, training, args)
    say_rows(test_name, tests, args)
    print(f"{truth_name}: {len(truth):,} frames, {truth.sum(dtype=int):,} of them anomalous")
    say_left_out(left_out, left_name)


def say_rows(path: Path, table: pd.DataFrame, args: Namespace) -> None:
    """How many rows a list has, an own set's of each label; warn where it lacks the kind of videos that its work needs."""
    counts = table["label"].value_counts().sort_index()
    labels = [f"{label} {n:,}" for label, n in counts.items() if args.data_set == "own"]
    print(f"{path}: {few([f'{len(table):,} rows', *labels])}")
    normal, training = counts.index == args.normal_label, path.name == OUTPUTS[args.data_set][0]
    if table.empty:
        print(f"warning: {args.feature_root} has no training videos; the training list is empty", file=sys.stderr)
    elif normal.all() or (training and not normal.any()):
        kind, needs = "normal" if normal.all() else "anomalous", "training needs" if training else "AUC and AP need"
        print(f"warning: the videos of {path} are all {kind}; {needs} both kinds", file=sys.stderr)


def say_left_out(left_out: pd.DataFrame, path: Path) -> None:
    """How many files are left out for what reason, and which, all of them in the file of that path."""
    if len(left_out):
        print(f"{path}: {len(left_out):,} files left out")
    for reason, rows in left_out.groupby("reason", sort=False):
        print(several(f"{len(rows):,} {reason}", rows["path"]))


parser = Parser("Make a data set's lists and ground truth.")
parser.add_argument("data_set", choices=tuple(OUTPUTS), help="whose layout and annotations these are; longterm = "
                    "any folders, all for testing; own = any folders, trained and tested")  # fmt: skip
parser.add_argument("--feature-root", type=Path, required=True, help="folder of the .npy files")
parser.add_argument("--annotations", type=Path, help="the public annotation file; else a line a video: "
                    f"{LINES['longterm']} (longterm), {LINES['own']} (own)")  # fmt: skip
parser.add_argument("--frames", type=Path, help="CSV with the columns video,frames: the videos' true frame counts")
parser.add_argument("--test-crop", type=int, choices=range(N_CROPS), metavar="N", help="the crop that is tested (None = where "
                    "each video has one crop, that one; else 5 of UCF-Crime, 0 of others)")  # fmt: skip
add_flags(parser.add_argument, [HOLD_LAST, NORMAL_LABEL])
own = parser.add_argument_group("own sets")
own.add_argument("--class-folders", action=SWITCH, default=False, help="a video that is not annotated has its folder's name as "
                 "its label")  # fmt: skip
split = own.add_mutually_exclusive_group()
split.add_argument("--test-folder", metavar="NAME", help="files below a folder of this name are for testing")
split.add_argument("--test-names", type=Path, metavar="FILE", help="the test videos, a name a line")
split.add_argument("--test-share", type=float, help="share of each class that is drawn for testing")
own.add_argument("--seed", type=int, default=0, help="of --test-share")
parser.add_argument("--out", type=Path, default=Path("list"), help="folder to write to")
parser.add_argument("--allow-missing", action=SWITCH, default=False, help="leave out what does not match")

if __name__ == "__main__":
    args = parser.parse_args()
    with exit_codes():
        make(args)
