"""Change: how far a clip moves, in which channels, and how far it lies from what its stream has shown (METHOD, section 6).

One label a video teaches which scenes are dangerous; when something happens there, the features say by themselves. A model
with change has two judges, the scene and this, which teach each other in training (`running.training.video_scores`). `whole` is
for any number of videos in one call, `step` for live streams.

Shapes: B streams, N clips (packed over videos), V videos, T snippets per clip, D width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

LEAST, USUAL = 0.01, 0.3  # relative changes: the smallest that counts, and that at which the log-odds are 0


class Past(NamedTuple):
    """What B streams have shown before their next clip. A value: a step makes a new one."""

    total: Tensor  # (B, D) float64, the sum of their snippets
    n_snippets: Tensor  # (B,) int64, how many


def empty_past(n_streams: int, width: int, device: torch.device | str = "cpu") -> Past:
    """The past of streams that have seen nothing."""
    total = torch.zeros(n_streams, width, dtype=torch.float64, device=device)
    return Past(total, torch.zeros(n_streams, dtype=torch.int64, device=device))


class Change(nn.Module):
    """The logits that change alone gives."""

    def __init__(self, width: int, *, motion: float, novelty: float, channels: bool):
        """motion, novelty: their powers in the odds, 0 = without; channels: whether the movement of each is weighed."""
        super().__init__()
        self.motion, self.novelty = motion, novelty
        self.weight = nn.Parameter(torch.zeros(width)) if channels else None
        self.bias = nn.Parameter(torch.zeros(1))

    def whole(self, clips: Tensor, starts: Tensor) -> Tensor:
        """Of whole videos: (N, T, D) clips, (V,) first clip of each video -> (N, T)."""
        measured, cuts = Measured.of(clips), starts[1:].cpu()
        # each video by itself, since one that overflows must not reach the next
        videos = (of_clips.tensor_split(cuts) for of_clips in shown(measured))
        return self(measured, Past(*(torch.cat([of.cumsum(0) - of for of in field]) for field in videos)))

    def step(self, clips: Tensor, past: Past) -> tuple[Tensor, Past]:
        """Of the next clip of each of B streams: (B, T, D) -> (B, T), and the past of the clip that follows."""
        measured = Measured.of(clips)
        return self(measured, past), Past(*(before + now for before, now in zip(past, shown(measured), strict=True)))

    def forward(self, measured: "Measured", past: Past) -> Tensor:
        """N clips and what came before each of them -> (N, T)."""
        scale = measured.clips.shape[-1] ** 0.5  # as the linear head's: so few weights must move faster
        logits = self.motion * motion(measured).unsqueeze(1) + self.novelty * novelty(measured, past) + scale * self.bias
        return logits if self.weight is None else logits + scale * channels(measured, self.weight)


class Measured(NamedTuple):
    """Clips, and what every measure of change asks of them."""

    clips: Tensor  # (N, T, D)
    size: Tensor  # (N, T) how long each snippet's vector is; 0: it is padding, or was dropped
    steps: Tensor  # (N, T - 1, D) from each snippet to the next

    @classmethod
    def of(cls, clips: Tensor) -> "Measured":
        """(N, T, D)"""
        return cls(clips, torch.linalg.vector_norm(clips, dim=-1), clips[:, 1:] - clips[:, :-1])

    @property
    def real(self) -> Tensor:
        """Which snippets are not zeros: (N, T)."""
        return self.size != 0


def shown(measured: Measured) -> Past:
    """What each clip adds to its stream's past: (N, D), (N,)."""
    return Past(measured.clips.sum(1, dtype=torch.float64), measured.real.sum(1))


def motion(measured: Measured) -> Tensor:
    """The least step between snippets of each clip, which no cut can feign: (N,); 0 where no two are real."""
    return least(relative(torch.linalg.vector_norm(measured.steps, dim=-1), measured.size[:, 1:]), measured.real)


def channels(measured: Measured, weight: Tensor) -> Tensor:
    """The weighed sum of each channel's least step, against the snippet's root mean square: (D,) weights -> (N, T)."""
    moved = least(measured.steps.abs(), measured.real)  # (N, D)
    size = measured.size.masked_fill(~measured.real, torch.inf) / len(weight) ** 0.5  # (N, T)
    return (moved * weight).sum(-1, keepdim=True) / size


def least(steps: Tensor, real: Tensor) -> Tensor:
    """The least of each clip's (N, T - 1, ...) steps between two real snippets: (N, ...); 0 where there is none."""
    unknown = ~(real[:, 1:] & real[:, :-1])
    found = steps.masked_fill(unknown.view(*unknown.shape, *[1] * (steps.dim() - 2)), torch.inf).amin(1)
    return found.masked_fill(found == torch.inf, 0)


def novelty(measured: Measured, past: Past) -> Tensor:
    """How far each snippet lies from the mean of its stream before the clip: (N, T); 0 where nothing came."""
    mean = (past.total / past.n_snippets.clamp_min(1).unsqueeze(1)).to(measured.clips.dtype)
    far = torch.linalg.vector_norm(measured.clips - mean.unsqueeze(1), dim=-1)
    known = measured.real & (past.n_snippets > 0).unsqueeze(1)
    return relative(far, measured.size).masked_fill(~known, 0)


def relative(distance: Tensor, size: Tensor) -> Tensor:
    """The log of a distance against the size of what has moved, and that against the usual."""
    return ((distance / size + LEAST) / (USUAL + LEAST)).log()


def joined(scene: Tensor, *change: Tensor) -> Tensor:
    """The logits of all judges: of one its own; of two those of the geometric mean of their scores: both must be sure."""
    if not change:
        return scene
    (changed,) = change
    both = logsigmoid(scene) + logsigmoid(changed)  # log p q
    not_both = torch.stack((logsigmoid(-scene), logsigmoid(scene) + logsigmoid(-changed))).logsumexp(0)  # log(1 - p q)
    return both / 2 - not_both + softplus(both / 2)  # 1 - sqrt(p q) = (1 - p q) / (1 + sqrt(p q))
