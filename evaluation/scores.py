"""A method's scores of a list of videos, and what a run of ours knows beside them; scores_file.py writes and reads them.

Shapes: V videos, S snippets (of all videos), F frames.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from evaluation import smoothing
from files.videos import Video


class Scores(NamedTuple):
    """A method's scores of a list of videos."""

    videos: list[Video]
    scores: np.ndarray  # (S,) float64 in [0, 1]
    seen: np.ndarray  # (S,) int64, snippets of the video that must have come before the score exists
    look_ahead: int | None  # snippets of the future in a score, at most, its own clip aside; None = not stated

    @property
    def n_snippets(self) -> np.ndarray:
        """(V,) int64"""
        return np.array([video.n_snippets for video in self.videos])

    @property
    def n_frames(self) -> np.ndarray:
        """(V,) int64"""
        return np.array([video.n_frames for video in self.videos])

    @property
    def video(self) -> np.ndarray:
        """(S,) int64, the index of each snippet's video."""
        return np.repeat(np.arange(len(self.videos)), self.n_snippets)


def from_logits(videos: list[Video], logits: np.ndarray, options: Mapping[str, Any], smooth: str | None = None) -> Scores:
    """The scores of (S,) logits of a run with these options, smoothed as they say, or in this way."""
    smooth, width = smooth or options["smooth"], options["smooth_width"]
    pad, window = options["smooth_pad"], options["attn_window"]
    of_videos = np.split(logits, np.cumsum([video.n_snippets for video in videos])[:-1])
    smoothed = np.concatenate([smoothing.smooth(of_video, smooth, width, pad) for of_video in of_videos])
    seen = np.concatenate([smoothing.seen(len(of_video), smooth, width, window) for of_video in of_videos])
    return Scores(videos, smoothing.sigmoid(smoothed), seen, smoothing.look_ahead(smooth, width))


def columns_of(videos: list[Video], logits: np.ndarray, options: Mapping[str, Any]) -> dict[str, Scores]:
    """What a test reports, by name: the scores of (S,) logits smoothed as the options say, causally, and not at all."""
    kinds = dict.fromkeys((options["smooth"], "causal", "none"))
    return {smoothing.name_of(kind, options["smooth_width"]): from_logits(videos, logits, options, kind) for kind in kinds}


class Record(NamedTuple):
    """What a test of ours writes: the scores, and what the report shows of them."""

    scores: Scores
    logits: np.ndarray  # (S,) float32, not smoothed
    exit_layer: np.ndarray  # (S,) int64
    key: np.ndarray  # (S,) bool, whether the snippet's clip is key
    truth: np.ndarray | None  # (F,) uint8; None where nobody knows
