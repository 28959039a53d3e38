"""LSHMA: key clips -> position -> HMA layers -> head, over whole videos or clip by clip (METHOD, section 5).

    model = LSHMA(width=512, layers=4, window=4, cache_keep_max_len=4, p=0.0, forgetting="ebbinghaus", attn_merge="token")
    output = model(clips, starts, key_clips=True, exit_threshold=None)              # whole videos, as in training
    output, memory = model.step(clips, memory, key_clips=True, exit_threshold=0.6)  # live streams

Shapes: B streams, N clips (packed over videos), V videos, T snippets per clip, D width.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

import kcg
from hma import HMA, MLP, Memory


class Output(NamedTuple):
    """One row per clip; a clip that is not key has the logits and the layer of the last key clip."""

    logits: Tensor  # (N, T) one per snippet, before the sigmoid
    exit_layer: Tensor  # (N,) int64, the layer the logits were taken at, 1 = first; without selection, the last
    key: Tensor  # (N,) bool


class StreamMemory(NamedTuple):
    """All that B live streams need to go on. A value: `step` makes a new one and leaves this one as it is."""

    gate: kcg.Gate
    layers: tuple[Memory, ...]
    logits: Tensor  # (B, T) of the last key clip
    exit_layer: Tensor  # (B,) int64


class LSHMA(nn.Module):
    """The whole model. `exit_threshold` chooses how the layers' scales become logits:

    None: all fused by their maximum, as in training; a score in [0, 1]: multi-temporal-scale selection, each clip stops at
    the first layer where one of its snippets scores above it (1 never stops early).
    """

    def __init__(
        self,
        *,
        width: int,
        layers: int,
        window: int,
        cache_keep_max_len: int,
        p: float,
        forgetting: str,
        attn_merge: str,
        **drop_rates: float,
    ):
        super().__init__()
        self.position = nn.Parameter(torch.randn(window, width) * 0.01)
        self.layers = nn.ModuleList(
            HMA(
                width=width,
                window=window,
                capacity=cache_keep_max_len - 1,
                p=p,
                forgetting=forgetting,
                attn_merge=attn_merge,
                **drop_rates,
            )
            for _ in range(layers)
        )
        self.linear = nn.Linear(width, width)
        self.mlp = MLP(width)
        self.classifier = nn.Linear(width, 1)
        self.forgetting = forgetting

    def forward(self, clips: Tensor, starts: Tensor, *, key_clips: bool, exit_threshold: float | None) -> Output:
        """Whole videos at once.

        Args:
            clips: (N, T, D) float32, the videos one after another. starts: (V,) int64 on the same device, each
                video's first clip, ascending from 0.
            key_clips: whether the KCG drops redundant clips; a dropped clip inherits the last key clip's logits.
        """
        n = torch.arange(len(clips), device=clips.device)
        key = kcg.select(clips, starts) if key_clips else torch.ones_like(n, dtype=torch.bool)
        video = torch.searchsorted(starts, n, right=True)
        x = clips[key] + self.position
        logits, exit_layer = self.fuse(x, video[key]) if exit_threshold is None else self.select(x, video[key], exit_threshold)
        last_key = key.cumsum(0) - 1
        return Output(logits[last_key], exit_layer[last_key], key)

    def fuse(self, x: Tensor, segment: Tensor) -> tuple[Tensor, Tensor]:
        """Multi-scale: the maximum over all layers, and the input, of their features. x (N, T, D) -> (N, T), (N,)."""
        z = self.linear(x)
        for layer in self.layers:
            x = layer(x, segment, self.odds(x))
            z = torch.maximum(z, self.linear(x))
        return self.head(z), segment.new_full((len(x),), len(self.layers))

    def select(self, x: Tensor, segment: Tensor, exit_threshold: float) -> tuple[Tensor, Tensor]:
        """Multi-temporal-scale selection: logits of the first layer that is sure. x (N, T, D) -> (N, T), (N,)."""
        if not self.layers:
            return self.fuse(x, segment)
        logits, exit_layer = x.new_empty(x.shape[:2]), segment.new_empty(len(x))
        going = torch.arange(len(x), device=x.device)  # the clips that no layer was sure of yet
        for depth, layer in enumerate(self.layers, 1):
            x = layer(x, segment, self.odds(x))
            if exit_threshold >= 1 and depth < len(self.layers):
                continue  # no score exceeds 1: these logits would not be looked at
            found = self.head(self.linear(x))  # (n, T)
            logits = logits.index_copy(0, going, found.to(logits.dtype))
            exit_layer = exit_layer.index_fill(0, going, depth)
            sure = is_sure(found, exit_threshold)
            stay = (~sure).nonzero().squeeze(1)
            # an exit empties the deeper memories: what comes after it is a new segment to them
            going, x, segment = going[stay], x[stay], (segment + sure.cumsum(0))[stay]
            if len(going) == 0:
                break
        return logits, exit_layer

    def head(self, z: Tensor) -> Tensor:
        """(..., D) -> (...) logits."""
        return self.classifier(z + self.mlp(z)).squeeze(-1)

    @torch.no_grad()
    def odds(self, x: Tensor) -> Tensor | None:
        """What the model thinks of clips on their way, by which `salience` remembers them: (N, T, D) -> (N,), above 0.

        The odds p / (1 - p) = exp(logit) of a clip's most suspicious snippet at the scale of x, detached. Other rules do not
        ask: None.
        """
        return self.head(self.linear(x)).float().amax(1).exp() if self.forgetting == "salience" else None

    def empty_memory(self, n_streams: int) -> StreamMemory:
        """The memory of streams that have seen nothing, on the model's device."""
        (window, width), device, dtype = self.position.shape, self.position.device, self.position.dtype
        layers = []
        for layer in self.layers:
            slots = (n_streams, layer.capacity)
            layers.append(
                Memory(
                    torch.zeros(*slots, window, width // 2, dtype=dtype, device=device),
                    torch.full(slots, 0.5, dtype=torch.float64, device=device),
                    torch.full(slots, -1, dtype=torch.int64, device=device),
                )
            )
        logits = torch.zeros(n_streams, window, dtype=dtype, device=device)
        exit_layer = torch.zeros(n_streams, dtype=torch.int64, device=device)
        return StreamMemory(kcg.empty_gate(n_streams, device), tuple(layers), logits, exit_layer)

    def step(
        self, clips: Tensor, memory: StreamMemory, *, key_clips: bool, exit_threshold: float | None
    ) -> tuple[Output, StreamMemory]:
        """The next clip of each of B independent streams: (B, T, D) -> one row per stream, and the memory to go on with."""
        if key_clips:
            key, gate = kcg.step(clips, memory.gate)
        else:
            key, gate = torch.ones(len(clips), dtype=torch.bool, device=clips.device), memory.gate
        going = key.nonzero().squeeze(1)  # the streams still on their way through the layers
        x = clips[going] + self.position
        z = self.linear(x) if exit_threshold is None or not self.layers else None
        logits, exit_layer = memory.logits, memory.exit_layer.index_fill(0, going, len(self.layers))
        exited = torch.zeros(len(clips), dtype=torch.bool, device=clips.device)
        layers = []
        for depth, (layer, past) in enumerate(zip(self.layers, memory.layers, strict=True), 1):
            past = past.emptied(exited)
            if len(going):
                x, now = layer.step(x, Memory(*(field[going] for field in past)), self.odds(x))
                past = Memory(*(field.index_copy(0, going, new) for field, new in zip(past, now, strict=True)))
            layers.append(past)
            if exit_threshold is None:
                z = torch.maximum(z, self.linear(x))
            elif exit_threshold < 1 or depth == len(self.layers):
                found = self.head(self.linear(x))
                logits = logits.index_copy(0, going, found.to(logits.dtype))
                exit_layer = exit_layer.index_fill(0, going, depth)
                sure = is_sure(found, exit_threshold)
                exited = exited.index_fill(0, going[sure], True)
                going, x = going[~sure], x[~sure]
        if z is not None:
            logits = logits.index_copy(0, going, self.head(z).to(logits.dtype))
        return Output(logits, exit_layer, key), StreamMemory(gate, tuple(layers), logits, exit_layer)


def is_sure(logits: Tensor, exit_threshold: float) -> Tensor:
    """Whether a clip's largest score, padding included, exceeds the threshold: (N, T) -> (N,) bool."""
    return logits.float().sigmoid().amax(1) > exit_threshold
