"""The videos of a list: every feature file found, read and checked before any work begins."""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from files.crops import copies_of
from files.features import FRAMES_PER_SNIPPET, UNUSABLE, Place, checksum, find_file, load_features, misfit
from files.lists import Row, few, read_list, refuse, several
from files.names import video_name
from files.progress import bar


class Video(NamedTuple):
    """One row of a list: a video, or one crop of it."""

    name: str  # the file's, without folder, ending and crop
    path: Path
    label: str
    classes: tuple[str, ...] | None  # of anomaly, none = normal; None = nobody said, as of another method's scores
    n_snippets: int
    n_frames: int
    checksum: int  # of the features, to notice a change
    place: Place | None = None  # of its crop in a file of several
    others: "tuple[Video, ...]" = ()  # its other crops, where they count too

    @property
    def crops(self) -> "list[Video]":
        """All of its crops that count, itself first."""
        return [self, *self.others]

    @property
    def anomalous(self) -> bool | None:
        """None = nobody said."""
        return None if self.classes is None else bool(self.classes)


def read_videos(
    path: str | Path,
    feature_root: str | None,
    data_set: str,
    *,
    normal_label: str | None = None,
    **how: Any,
) -> list[Video]:
    """The videos of a list, every feature file found, read and checked as `check_videos` is told.

    Raises FileNotFoundError or ValueError that counts the bad rows and names the first five.
    """
    rows = read_list(path, data_set, normal_label)
    files = find_files(rows, feature_root)
    require_once(rows, files)
    return check_videos(path, rows, files, **how)


def find_files(rows: Sequence[Row], feature_root: str | None) -> list[Path]:
    """The feature files of a list. Raises FileNotFoundError."""
    if feature_root is not None and not Path(feature_root).is_dir():
        raise FileNotFoundError(f"--feature-root {feature_root}: no such folder")
    files = [find_file(row.path, feature_root) for row in rows]
    missing = [f"{row.where}: {row.path}" for row, file in zip(rows, files, strict=True) if file is None]
    if missing:
        where = f"under --feature-root {feature_root}" if feature_root is not None else "here (is --feature-root missing?)"
        raise FileNotFoundError(several(f"{len(missing)} of {len(rows)} feature files are not {where}", missing))
    return files


def check_videos(
    path: str | Path,
    rows: Sequence[Row],
    files: Sequence[Path],
    *,
    crops: str = "one",
    width: int,
    zero_non_finite: bool,
    hold_last: bool = False,
    why: str = "",
) -> list[Video]:
    """The videos of rows that `path` lists, each with its feature file, read and checked; `why` says who sets the width.

    crops: `one`, that of the list, or the first in a file of several; `file`, with the others in its file; `mean`, with those
    in files beside it too.
    Raises ValueError that counts the bad rows and names the first five.
    """

    def check(row: Row, copies: list[tuple[Path, Place | None]]) -> Video | str:
        videos: list[Video] = []
        for file, place in copies:
            try:
                features = load_features(file, width, zero_non_finite, place=place, why=why, say=zeroed.append)
            except (ValueError, OSError) as error:
                return f"{row.where}: {error}"
            n = len(features)
            n_frames = row.n_frames or FRAMES_PER_SNIPPET * n
            wrong = misfit(n_frames, n, hold_last)
            if videos and n != videos[0].n_snippets:
                wrong = f"{n} snippets, but another crop, {videos[0].path}, has {videos[0].n_snippets}; extract them again"
            if wrong:
                return f"{row.where}: {file}: {wrong}"
            videos.append(Video(video_name(file), file, row.label, row.classes, n, n_frames, checksum(features), place))
        return videos[0]._replace(others=tuple(videos[1:]))

    copies, zeroed = copies_of(files, crops, path), list[str]()
    with ThreadPoolExecutor(8) as pool:
        checked = list(bar(pool.map(check, rows, copies), f"checking {Path(path).name}", len(rows), unit="file"))
    bad = [outcome for outcome in checked if isinstance(outcome, str)]
    refuse(bad, f"{len(bad)} of {len(rows)} feature files cannot be used")
    if zeroed:
        print(several(f"note: {path}: in {len(zeroed)} crops values that are {UNUSABLE} are set to zero", sorted(zeroed)))
    if held := [video.name for video in checked if video.n_frames > FRAMES_PER_SNIPPET * video.n_snippets]:
        print(several(f"note: {path}: the last score of {len(held)} videos holds for a snippet that they lack", held))
    return checked


def require_once(rows: Sequence[Row], files: Sequence[Path]) -> None:
    """Raise ValueError where a list has a file twice: training would see it twice as often, perhaps under two labels."""
    first: dict[Path, str] = {}
    for row, file in zip(rows, files, strict=True):
        if (there := first.setdefault(file, row.where)) != row.where:
            raise ValueError(f"{row.where}: {file} is listed already, in {there}; name each file once")


def require_distinct(path: str | Path, videos: Sequence[Video]) -> None:
    """Raise ValueError where a test list has a video twice."""
    seen: dict[str, int] = {}
    for row, video in enumerate(videos, 1):
        if video.name in seen:
            raise ValueError(
                f"{path}, video {row}: {video.name} is already video {seen[video.name]}; name each video once, by one crop"
            )
        seen[video.name] = row


def require_both_classes(path: str | Path, videos: Sequence[Video]) -> None:
    """Raise ValueError where a training list has normal or anomalous videos only."""
    n_anomalous = sum(video.anomalous for video in videos)
    if n_anomalous in (0, len(videos)):
        kind, labels = "anomalous" if n_anomalous else "normal", few(sorted({video.label for video in videos}))
        raise ValueError(
            f"{path}: all {len(videos)} videos are {kind} (labels: {labels}); training needs both normal and anomalous ones; "
            "--normal-label says which label is the normal one"
        )


def require_unseen(train_path: str, train: Sequence[Video], test: Sequence[Video], allowed: bool) -> None:
    """Raise ValueError, or warn where it is allowed, where test videos are trained on: of the same name or the same content."""
    names = {video.name.casefold(): video for video in test}
    contents = {(video.checksum, video.n_snippets): video for video in test}
    seen = {}
    for video in train:
        other = names.get(video.name.casefold()) or contents.get((video.checksum, video.n_snippets))
        if other:
            same = other.name if other.name == video.name else f"{other.name} (in training as {video.name}, same content)"
            seen.setdefault(other.name, same)
    if not seen:
        return
    what = several(f"{train_path}: {len(seen)} videos of the test list are in it", seen.values())
    if not allowed:
        raise ValueError(f"{what}\ntake them out of it, or pass --allow-test-in-training if that is meant")
    print(f"warning: {what}", file=sys.stderr)
