"""Change: how far a clip moves, and how far it lies from what its stream has shown before, as log-odds (METHOD, section 6).

One label a video teaches which scenes are dangerous; when something happens there, the features say by themselves. No part
of it learns: `whole` is for any number of videos in one call, `step` for live streams.

Shapes: B streams, N clips (packed over videos), V videos, T snippets per clip, D width.
"""

from typing import NamedTuple

import torch
from torch import Tensor

LEAST, USUAL = 0.01, 0.3  # relative changes: the smallest that counts, and that at which the log-odds are 0


class Weights(NamedTuple):
    """The powers of the two changes in the odds; 0 = without it."""

    motion: float
    novelty: float


NONE = Weights(0.0, 0.0)


class Past(NamedTuple):
    """What B streams have shown before their next clip. A value: a step makes a new one."""

    total: Tensor  # (B, D) float64, the sum of their snippets
    n_snippets: Tensor  # (B,) int64, how many


def empty_past(n_streams: int, width: int, device: torch.device | str = "cpu") -> Past:
    """The past of streams that have seen nothing."""
    total = torch.zeros(n_streams, width, dtype=torch.float64, device=device)
    return Past(total, torch.zeros(n_streams, dtype=torch.int64, device=device))


def whole(clips: Tensor, starts: Tensor, weights: Weights) -> Tensor:
    """The log-odds that change gives to whole videos: (N, T, D) clips, (V,) first clip of each video -> (N, T)."""
    # each video by itself, since one that overflows must not reach the next
    pasts = [Past(*(of_clip.cumsum(0) - of_clip for of_clip in shown(video))) for video in clips.tensor_split(starts[1:].cpu())]
    return log_odds(clips, Past(*map(torch.cat, zip(*pasts, strict=True))), weights)


def step(clips: Tensor, past: Past, weights: Weights) -> tuple[Tensor, Past]:
    """Those of the next clip of each of B streams: (B, T, D) -> (B, T), and the past of the clip that follows."""
    return log_odds(clips, past, weights), Past(*(before + now for before, now in zip(past, shown(clips), strict=True)))


def shown(clips: Tensor) -> Past:
    """What each clip adds to its stream's past: (N, T, D) -> (N, D), (N,). A snippet of zeros is padding, or was dropped."""
    return Past(clips.sum(1, dtype=torch.float64), real(clips).sum(1))


def real(clips: Tensor) -> Tensor:
    """Which snippets are not zeros: (N, T, D) -> (N, T)."""
    return (clips != 0).any(2)


def log_odds(clips: Tensor, past: Past, weights: Weights) -> Tensor:
    """(N, T, D) clips and what came before each of them -> (N, T)."""
    return weights.motion * motion(clips).unsqueeze(1) + weights.novelty * novelty(clips, past)


def motion(clips: Tensor) -> Tensor:
    """The least step between snippets of each clip, which no cut can feign: (N, T, D) -> (N,); 0 where no two are real."""
    known = real(clips)
    steps = relative(clips[:, 1:] - clips[:, :-1], clips[:, 1:]).masked_fill(~(known[:, 1:] & known[:, :-1]), torch.inf)
    least = steps.amin(1)
    return least.masked_fill(least == torch.inf, 0)


def novelty(clips: Tensor, past: Past) -> Tensor:
    """How far each snippet lies from the mean of its stream before the clip: (N, T, D) -> (N, T); 0 where nothing came."""
    mean = (past.total / past.n_snippets.clamp_min(1).unsqueeze(1)).to(clips.dtype)
    known = real(clips) & (past.n_snippets > 0).unsqueeze(1)
    return relative(clips - mean.unsqueeze(1), clips).masked_fill(~known, 0)


def relative(difference: Tensor, x: Tensor) -> Tensor:
    """The log of |difference| / |x| along the last axis, against the usual."""
    share = torch.linalg.vector_norm(difference, dim=-1) / torch.linalg.vector_norm(x, dim=-1)
    return ((share + LEAST) / (USUAL + LEAST)).log()
