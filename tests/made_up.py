"""A made-up set of UCF-Crime's size, to time whole commands on: noise, in as many videos, frames and classes.

    PYTHONPATH=. python tests/made_up.py OUT --share 0.1

Writes OUT/features, train.csv (1,610 videos in ten crops), test.csv (290 videos) and gt.npy (1,114,144 frames, 84,189 of them
anomalous); --share takes so much of the training videos, which are 8 GB. The videos' lengths are drawn, but for their sum.
"""

import argparse
from pathlib import Path

import numpy as np
from conftest import write_list

from files.features import FRAMES_PER_SNIPPET
from files.labels import UCF_ANOMALIES

WIDTH, N_CROPS = 512, 10
TRAIN, TEST = 1610, 290  # videos, the second half of each anomalous
N_TRAIN, N_TEST, N_ANOMALOUS = 12_640_000, 1_114_144, 84_189  # frames; of the training about


def lengths(n: int, total: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) frames that sum up to the total; a few are very long."""
    drawn = rng.lognormal(0.0, 1.2, n)
    frames = np.maximum(FRAMES_PER_SNIPPET, (drawn / drawn.sum() * total).astype(int))
    frames[frames.argmax()] += total - frames.sum()
    return frames


def write(folder: Path, name: str, frames: np.ndarray, n_crops: int, rng: np.random.Generator) -> None:
    """The features of videos of so many frames, and their list."""
    noise, rows = rng.standard_normal((4096, WIDTH)).astype(np.float16), []
    for i, n in enumerate(frames.tolist()):
        label = UCF_ANOMALIES[i % len(UCF_ANOMALIES)] if i >= len(frames) // 2 else "Normal"
        (folder / "features" / label).mkdir(parents=True, exist_ok=True)
        for crop in range(n_crops):
            path = f"{label}/{label}_{name}{i:04d}_x264__{crop}.npy"
            np.save(folder / "features" / path, noise[rng.integers(0, len(noise), -(-n // FRAMES_PER_SNIPPET))])
            rows.append((path, label, n))
    write_list(folder / f"{name}.csv", rows, ("path", "label", "frames"))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("out", type=Path)
    asked.add_argument("--share", type=float, default=1.0, help="of the training videos")
    args, rng = asked.parse_args(), np.random.default_rng(0)
    write(args.out, "test", tested := lengths(TEST, N_TEST, rng), 1, rng)
    write(args.out, "train", lengths(round(args.share * TRAIN), round(args.share * N_TRAIN), rng), N_CROPS, rng)
    truth = np.zeros(N_TEST, np.uint8)
    anomalous = tested[TEST // 2 :]
    starts, left = N_TEST - anomalous.sum() + np.append(0, anomalous.cumsum()[:-1]), N_ANOMALOUS
    for start, n, others in zip(starts, anomalous, range(len(anomalous) - 1, -1, -1), strict=True):
        part = min(n, max(1, round(left / (others + 1))))
        truth[start : start + part] = 1
        left -= part
    np.save(args.out / "gt.npy", truth)
    print(f"{args.out}: {len(truth):,} frames of {TEST} test videos, {truth.sum(dtype=int):,} of them anomalous")


if __name__ == "__main__":
    main()
