"""How alike two sets of features of the same videos are: before a model trained on the one is trusted on the other.

Shapes: L snippets of one video, D width.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

import kcg
from dataset import pack
from files import origin
from files.features import load_features
from files.layouts import feature_files
from files.lists import several
from files.names import is_hidden, name_and_crop

SHIFTS = (-1, 0, 1)  # snippets by which the second set is taken later


def features_in(folder: Path) -> dict[tuple[str, int], Path]:
    """The .npy files below a folder, by video and crop. Raises FileNotFoundError where there are none, ValueError where a crop
    has two.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; name two folders of features")
    paths = [path for path in sorted(feature_files(folder)) if path.suffix.lower() == ".npy" and not is_hidden(path)]
    if not paths:
        raise FileNotFoundError(f"{folder}: no .npy files in it")
    found: dict[tuple[str, int], Path] = {}
    for path in paths:
        name, crop = name_and_crop(path)
        there = found.setdefault((name, crop or 0), path)
        if there != path:
            raise ValueError(f"{path} and {there} are both crop {crop or 0} of {name}; name a folder that has it once")
    return found


def made_otherwise(one: Path, other: Path) -> str:
    """In what the features of two folders were made in different ways, as far as they say; empty where in nothing."""
    paths = [folder / origin.NAME for folder in (one, other)]
    return origin.differences(*(origin.read(path) if path.exists() else None for path in paths))


def cosines(one: np.ndarray, other: np.ndarray, shift: int) -> np.ndarray:
    """The cosine of each snippet of `one` with that of `other` so many later: two (., D) -> (n,); 0 with a zero vector."""
    start, end = max(0, -shift), min(len(one), len(other) - shift)
    a, b = one[start:end].astype(np.float64), other[start + shift : end + shift].astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(1), norms, out=np.zeros(len(a)), where=norms > 0)


def key_clips(features: np.ndarray, window: int) -> np.ndarray:
    """The KCG's choice of each clip: (L, D) -> (clips,) bool."""
    return kcg.select(*pack([features.astype(np.float32)], window)).numpy()


def compare(folders: tuple[Path, Path], window: int) -> tuple[pd.DataFrame, Mapping[str, float]]:
    """A row for each video and crop that is in both, and figures over all their snippets. Says what is in one alone.

    Raises FileNotFoundError, or ValueError where nothing is in both or the widths differ.
    """
    one, other = map(features_in, folders)
    for here, there, folder in ((one, other, folders[1]), (other, one, folders[0])):
        alone = [str(here[key]) for key in sorted(here.keys() - there.keys())]
        if alone:
            print(several(f"{len(alone)} files are left out, since {folder} has nothing of that video and crop", alone),
                  file=sys.stderr)  # fmt: skip
    both = sorted(one.keys() & other.keys())
    if not both:
        raise ValueError(f"{folders[0]} and {folders[1]} have no video in common, by name and crop (NAME__0.npy)")
    rows, every, agreed = [], {shift: [] for shift in SHIFTS}, []
    for name, crop in both:
        paths = one[name, crop], other[name, crop]
        a, b = (load_features(path, None, False) for path in paths)
        if a.shape[1] != b.shape[1]:
            raise ValueError(f"{paths[0]} has width {a.shape[1]}, {paths[1]} {b.shape[1]}: of different encoders; no cosine")
        if a.shape[1] % kcg.N_BLOCKS:
            raise ValueError(
                f"{paths[0]} has width {a.shape[1]}; the KCG needs a multiple of {kcg.N_BLOCKS}, as every model does"
            )
        of_shift = {shift: cosines(a, b, shift) for shift in SHIFTS}
        n = min(len(a), len(b))
        same = key_clips(a[:n], window) == key_clips(b[:n], window)
        agreed.append(same)
        for shift in SHIFTS:
            every[shift].append(of_shift[shift])
        means = {f"shift {shift:+d}" if shift else "cosine": means_of(of_shift[shift])[0] for shift in (0, -1, 1)}
        lengths = {"snippets": len(a), "snippets there": len(b)}
        rows.append({"video": name, "crop": crop, **lengths, **means, "key clips agree": same.mean()})
    figures = {}
    for shift in SHIFTS:
        mean, low = means_of(np.concatenate(every[shift]))
        figures |= {f"cosine at shift {shift:+d}: mean": mean, f"cosine at shift {shift:+d}: 5th percentile": low}
    return pd.DataFrame(rows), figures | {"key clips agree": float(np.concatenate(agreed).mean())}


def means_of(cosines: np.ndarray) -> tuple[float, float]:
    """The mean and the 5th percentile; NaN of none."""
    return (float(cosines.mean()), float(np.percentile(cosines, 5))) if len(cosines) else (np.nan, np.nan)
