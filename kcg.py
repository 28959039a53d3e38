"""Key Clip Generator (KCG): drops the clips that add nothing (METHOD, section 3).

A clip's two halves are compared; a clip is key when the change of that similarity stands out from its last two changes.
It depends on the features alone: `select` gates any number of whole videos in one call, `step` gates live streams.

Shapes: B streams, N clips (packed over videos), V videos, T snippets per clip, D width.
"""

from typing import NamedTuple

import torch
from torch import Tensor

N_BLOCKS = 64  # the channels are compared in this many equal blocks
N_ALWAYS_KEY = 4  # the first clips of a video are always key
CHUNK = 256  # clips compared at a time, so that the intermediate results stay in cache


class Gate(NamedTuple):
    """What the KCG knows of B streams before their next clip."""

    similarity: Tensor  # (B,) float64, of the last clip
    difference: Tensor  # (B,) float64, of the last two clips' similarities
    n_clips: Tensor  # (B,) int64, seen so far


def empty_gate(n_streams: int, device: torch.device | str = "cpu") -> Gate:
    """The state of streams that have seen nothing."""
    zeros = torch.zeros(n_streams, dtype=torch.float64, device=device)
    return Gate(zeros, zeros, torch.zeros(n_streams, dtype=torch.int64, device=device))


def similarity(clips: Tensor) -> Tensor:
    """How alike the two halves of each clip are: (N, T, D) -> (N,) float32 in [0, 1].

    The minimum over 64 channel blocks of the mean over T/2 snippet pairs of (cosine + 1) / 2; a cosine with a zero vector
    counts as 0. Always in float32: rounding to float16 flips decisions.
    """
    return torch.cat([chunk_similarity(chunk.float()) for chunk in clips.split(CHUNK)])


def chunk_similarity(clips: Tensor) -> Tensor:
    """`similarity` of a few float32 clips at once."""
    first, second = clips.unflatten(2, (N_BLOCKS, -1)).chunk(2, dim=1)  # (N, T, D) -> 2 x (N, T/2, 64, D/64)
    dot = (first * second).sum(-1)  # (N, T/2, 64)
    cosine = dot * inverse_norm(first) * inverse_norm(second)
    return ((cosine + 1) / 2).mean(1).amin(1)  # (N, T/2, 64) -> (N,)


def inverse_norm(x: Tensor) -> Tensor:
    """1 / |x| along the last axis, bounded where x is zero."""
    return x.square().sum(-1).clamp_min(1e-16).rsqrt()


def is_key(difference: Tensor, previous: Tensor, n: Tensor) -> Tensor:
    """Clip n is key if |d_n| > j_n > 0, where j_n = |d_n - d_(n-1)| / 2, the deviation of its last two differences."""
    threshold = (difference - previous).abs() / 2
    return (n < N_ALWAYS_KEY) | ((threshold > 0) & (difference.abs() > threshold))


def select(clips: Tensor, starts: Tensor) -> Tensor:
    """Which clips of whole videos are key: (N, T, D) clips, (V,) first clip of each video -> (N,) bool."""
    s = similarity(clips).double()
    d = s - s.roll(1)  # across a video's start these are wrong, and never read: its first clips are always key
    n = torch.arange(len(s), device=s.device)
    n = n - starts[torch.searchsorted(starts, n, right=True) - 1]
    return is_key(d, d.roll(1), n)


def step(clips: Tensor, gate: Gate) -> tuple[Tensor, Gate]:
    """One clip of each of B streams: (B, T, D) -> (B,) bool, and the gate for the next clip."""
    return moved(similarity(clips), gate)


def moved(s: Tensor, gate: Gate) -> tuple[Tensor, Gate]:
    """`step` of clips whose (B,) similarity is known."""
    s = s.double()
    d = s - gate.similarity
    return is_key(d, gate.difference, gate.n_clips), Gate(s, d, gate.n_clips + 1)
