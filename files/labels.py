"""The labels of videos: which say normal, and which classes of anomaly the others name."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from files.names import video_name

UCF_ANOMALIES = (
    *("Abuse", "Arrest", "Arson", "Assault", "Burglary", "Explosion", "Fighting"),
    *("RoadAccidents", "Robbery", "Shooting", "Shoplifting", "Stealing", "Vandalism"),
)
XD_ANOMALIES = {"B1": "fighting", "B2": "shooting", "B4": "riot", "B5": "abuse", "B6": "car accident", "G": "explosion"}


class Labels(NamedTuple):
    """How the labels of a data set are read."""

    normal: str
    classes: Mapping[str, str] | None  # the others, and the classes they name; None = any other is the name of a class
    several: bool = False  # joined by `-`, with zeros in the places of none


LABELS = {
    "ucf": Labels("Normal", {name: name for name in (*UCF_ANOMALIES, "Anomaly")}),
    "xd": Labels("A", XD_ANOMALIES, several=True),
    "longterm": Labels("Normal", None),
    "own": Labels("Normal", None),
}


def classes_of(label: str, data_set: str | None, normal: str | None = None) -> tuple[str, ...]:
    """The classes of anomaly that a label names, none where it says normal: `B2-G-0` of `xd` -> ("shooting", "explosion").

    data_set: None where nobody says: then as UCF-Crime or XD-Violence have it, else as an own set. normal: the label of normal
    videos, if not the data set's usual one. Raises ValueError for a label that the data set does not have.
    """
    if data_set is None and normal is None:
        for name in ("ucf", "xd"):
            try:
                return classes_of(label, name)
            except ValueError:
                continue
    labels = LABELS[data_set or "own"]
    normal = normal or labels.normal
    parts = tuple(part for part in label.split("-") if part != "0") if labels.several else (label,)
    if parts == (normal,):
        return ()
    if labels.classes is None:
        if label and label.casefold() != normal.casefold():
            return parts
        raise ValueError(f"label {label!r}: expected {normal} (normal; --normal-label) or the name of a class")
    if parts and all(part in labels.classes for part in parts):
        return tuple(labels.classes[part] for part in parts)
    known = ", ".join(labels.classes)
    raise ValueError(f"unknown label {label!r}; expected {normal} (normal) or one of {known}; own_train.py takes any classes")


def label_of(name: str) -> str:
    """The label in a video's name, as UCF-Crime's and XD-Violence's names have it, else none."""
    name = video_name(name)
    xd = re.search(r"_label_([ABG][\w-]*)$", name)
    ucf = re.match("|".join(("Normal", *UCF_ANOMALIES)), name)
    return xd[1] if xd else ucf[0] if ucf else ""
