"""What becomes of each video of a set: its files, annotations and frame counts joined by its name, and which side it is on."""

import hashlib
import re
import sys
from difflib import SequenceMatcher
from itertools import pairwise

import pandas as pd

from files.labels import classes_of
from files.layouts import NO_CROP
from files.lists import few, several

TEST_CROP = {"ucf": 5, "xd": 0, "longterm": 0, "own": 0}
TRAINING, TEST, UNTOLD = "training", "test", "test videos without annotation"

SIGNS, COPIES = r"[\W_]", r"[\s(]"  # what may follow a video's name in that of another part of it, or of a copy


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
        raise ValueError(
            f"{path}: another file of {name} is {other}; each video has one folder and a name of its own, each crop one file"
        )
    return files, chosen


def counts_of(crops: pd.Series) -> str:
    """`5 in 290 videos`"""
    names = crops.map(lambda crop: "none" if crop == NO_CROP else str(crop))
    return ", ".join(f"{name} in {n} videos" for name, n in names.value_counts().items())


def join(
    files: pd.DataFrame, annotations: pd.DataFrame, frames: pd.DataFrame | None, test_names: list[str], normal: str
) -> pd.DataFrame:
    """A row for each video on any side: an outer join by name. Columns: those of the annotations, n_frames, path (of one crop),
    crops (a set; missing without files), test (the files or `test_names` say so), named (in these), and label.

    The label is that of the files' place; where that says none, the annotation's; else "".
    """
    videos = files.groupby("name", sort=False).agg(
        path=("path", "first"), label=("label", "first"), test=("test", "any"), crops=("crop", set)
    )
    counts = pd.DataFrame(columns=["n_frames"]) if frames is None else frames.set_index("name")
    named = pd.DataFrame({"named": True}, index=pd.Index(test_names, dtype=object).unique())
    joined = pd.concat([annotations.set_index("name"), videos, counts, named], axis=1)  # in the order of the tables
    joined["intervals"] = joined["intervals"].map(lambda pairs: pairs if isinstance(pairs, list) else [])
    joined["named"] = joined["named"].eq(True)
    joined["test"] = joined["test"].eq(True) | joined["named"]
    said = joined["class"].where(joined["class"].notna(), joined["intervals"].map(lambda pairs: "Anomaly" if pairs else normal))
    labels = joined["label"].where(joined["label"].fillna("") != "", said.where(joined["where"].notna(), ""))
    return joined.assign(label=labels)


def fates(videos: pd.DataFrame, test_crop: int | None, data_set: str, normal: str) -> pd.Series:
    """What becomes of each video of `join`: TRAINING, TEST, or the reason why it is left out."""
    own = data_set == "own"
    annotated, has_files = videos["where"].notna(), videos["crops"].notna()
    is_normal = videos["label"] == normal
    testing = videos["test"] | (annotated & (not own))  # an own set's training videos are annotated too
    has_crop = videos["crops"].map(lambda crops: isinstance(crops, set) and (test_crop is None or test_crop in crops))
    sought = (annotated | videos["named"]) & ~has_files  # and nowhere under that name
    lost, stems = {loose(name) for name in videos.index[sought]}, {stem(name) for name in videos.index[testing]}
    signs = COPIES if own else SIGNS
    like = pd.Series([loose(name) in lost or bool(beginnings(name, signs) & stems) for name in videos.index], videos.index)
    alike = pd.Series([bool(beginnings(name) & stems) for name in videos.index], videos.index)
    if others := list(videos.index[has_files & ~testing & alike & ~like]):  # as cam_2 beside cam: its user says which to test
        print(several(f"note: {len(others)} training videos whose names begin as a test video's are taken for others", others))
    fate = pd.Series(TRAINING, videos.index)
    for reason, where in (  # the last that holds is the fate
        (TEST, testing),
        ("videos without a label", has_files & (videos["label"] == "") & own),
        ("training videos that may be test videos, written another way", has_files & ~testing & like),
        (f"test videos without crop {test_crop}", testing & has_files & ~has_crop),
        ("anomalous test videos without intervals", testing & has_files & ~is_normal & ~videos["intervals"].map(bool) & own),
        # XD-Violence's annotations leave normal videos out, an own set's may
        (UNTOLD, testing & has_files & ~annotated & ~(is_normal & (data_set in ("xd", "own")))),
        ("annotated videos without features", annotated & ~has_files),
        ("names of test videos without features", videos["named"] & ~has_files),
        ("frame counts without a video", ~annotated & ~videos["named"] & ~has_files),
    ):
        fate[where] = reason
    if videos["n_frames"].notna().any():
        fate[(fate == TEST) & videos["n_frames"].isna()] = "test videos without a frame count"
    return fate


def draw(videos: pd.DataFrame, share: float, seed: int, normal: str) -> pd.Series:
    """Which videos of `join` to test: a share of each class, at least one of two or more, and not all; a function of the seed,
    the share and the names alone, in which a video that is added moves few others.

    Videos whose names may mean one another stay on one side, and count once. Only a normal video, or one with intervals, is
    tested; says where a class has too few of them for its share.
    """
    here = videos[videos["crops"].notna() & (videos["label"] != "")]
    known = {loose(name) for name in here.index}
    kin = [min((loose(start) for start in beginnings(name) if loose(start) in known), key=len) for name in here.index]
    testable = (here["label"] == normal) | here["intervals"].map(bool)
    groups = here.assign(kin=kin, testable=testable).groupby("kin")
    groups = groups.agg(label=("label", "first"), n_labels=("label", "nunique"), testable=("testable", "all"))
    groups["place"] = [hashlib.sha256(f"{seed} {name}".encode()).hexdigest() for name in groups.index]
    chosen: set[str] = set()
    for label, of_class in groups.sort_values("place").groupby("label"):
        n = min(max(1, round(share * len(of_class))), len(of_class) - 1)
        drawn = of_class.index[of_class["testable"] & (of_class["n_labels"] == 1)][:n]
        if len(drawn) < n:
            print(f"{label}: {len(drawn)} of the {n} wanted by --test-share {share:g}; no other can be tested")
        chosen.update(drawn)
    return pd.Series([name in chosen for name in kin], here.index).reindex(videos.index, fill_value=False)


def stem(name: str) -> str:
    """A name whatever its case, and without `_x264`."""
    return name.casefold().replace("_x264", "")


def loose(name: str) -> str:
    """A name as a person might remember it: case, signs and `_x264` aside."""
    return re.sub(r"[\W_]+", "", stem(name))


def beginnings(name: str, signs: str = SIGNS) -> set[str]:
    """The whole of a name and what stands before each sign in it: `abuse001 (1)` -> `abuse001 (1)`, `abuse001`, ..."""
    name = stem(name)
    return {name, *(name[: sign.start()] for sign in re.finditer(signs, name))}


def require_same_class(videos: pd.DataFrame, data_set: str, normal: str) -> None:
    """Raise ValueError where an annotation contradicts itself or the folder of its video."""
    own = data_set == "own"
    for name, video in videos[videos["class"].notna() | (own & videos["where"].notna())].iterrows():
        label, n, where = video["label"], len(video["intervals"]), video["where"]
        if isinstance(video["class"], str) and video["class"] != label:
            raise ValueError(f"{where}: {name} is {video['class']} here, but its features are in the folder of {label}")
        if (label == normal and n) or (label != normal and not n and not own):
            raise ValueError(f"{where}: {name} is {label}, with {n} intervals; normal videos have none, others some")


def require_labels(videos: pd.DataFrame, normal: str) -> None:
    """Raise ValueError where a label of an own set cannot be, or none is the normal one; warn where one may be a slip."""
    videos = videos[videos["label"] != ""]
    for _, video in videos.drop_duplicates("label").iterrows():
        try:
            classes_of(video["label"], "own", normal)
        except ValueError as error:
            raise ValueError(f"{video['where'] if isinstance(video['where'], str) else video['path']}: {error}") from None
    labels = sorted(set(videos["label"]))
    if labels and normal not in labels:
        raise ValueError(f"no video is {normal}; the labels are {few(labels)}: --normal-label says which one is normal")
    for one, other in pairwise(sorted(labels, key=str.casefold)):
        if SequenceMatcher(None, one.casefold(), other.casefold()).ratio() > 0.85:
            print(f"warning: labels {one} and {other} differ so little that one may be a slip", file=sys.stderr)
