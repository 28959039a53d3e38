"""The labels of videos: which are normal, which are anomalous, and of what class."""

import re

from files.names import video_name

UCF_ANOMALIES = (
    *("Abuse", "Arrest", "Arson", "Assault", "Burglary", "Explosion", "Fighting"),
    *("RoadAccidents", "Robbery", "Shooting", "Shoplifting", "Stealing", "Vandalism"),
)
XD_ANOMALIES = {"B1": "fighting", "B2": "shooting", "B4": "riot", "B5": "abuse", "B6": "car accident", "G": "explosion"}
# per data set: the label of normal videos, and those of anomalous ones
LABELS = {
    "ucf": ("Normal", UCF_ANOMALIES),
    "xd": ("A", tuple(XD_ANOMALIES)),
    "longterm": ("Normal", ("Anomaly", *UCF_ANOMALIES)),
}


def is_anomalous(label: str, data_set: str | None) -> bool:
    """Whether a label says anomalous. XD labels may be several, joined by `-`, with zeros as in the files' names.

    Raises ValueError for a label that the data set, or with None any of them, does not have.
    """
    parts = [part for part in label.split("-") if part != "0"]
    for name in LABELS if data_set is None else [data_set]:
        normal, anomalies = LABELS[name]
        if parts == [normal] and (name == "xd" or label == normal):
            return False
        if parts and all(part in anomalies for part in parts) and (name == "xd" or label == parts[0]):
            return True
    known = [LABELS[data_set]] if data_set else [LABELS["longterm"], LABELS["xd"]]
    expected = "; or ".join(f"{normal} (normal) or one of {', '.join(anomalies)}" for normal, anomalies in known)
    raise ValueError(f"unknown label {label!r}; expected {expected}")


def classes_of(label: str) -> list[str]:
    """The classes of anomaly in a label, by name: `B2-G-0` -> ["shooting", "explosion"]; none in `A`, `Normal` or no label."""
    return [XD_ANOMALIES.get(part, part) for part in label.split("-") if part not in ("", "0", "A", "Normal")]


def label_of(name: str) -> str:
    """The label in a video's name, as UCF-Crime's and XD-Violence's names have it, else none."""
    name = video_name(name)
    xd = re.search(r"_label_([ABG][\w-]*)$", name)
    ucf = re.match("|".join(("Normal", *UCF_ANOMALIES)), name)
    return xd[1] if xd else ucf[0] if ucf else ""
