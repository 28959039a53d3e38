"""LSHMA: key clips -> position -> HMA layers -> head, over whole videos or clip by clip (METHOD, section 5); in the variant
`ours` the head is asked at once, and change judges beside it (section 6).

    model = LSHMA(width=512, layers=4, window=4, cache_keep_max_len=4, p=0.0, forgetting="ebbinghaus", attn_merge="token")
    output = model(clips, starts, key_clips=True, scales=FUSE)                   # whole videos, as in training
    output, memory = model.step(clips, memory, key_clips=True, scales=Select(0.6))  # live streams

Shapes: B streams, N clips (packed over videos), V videos, T snippets per clip, D width.
"""

from argparse import Namespace
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import kcg
from change import Change, Past, empty_past, joined
from hma import HMA, MLP, RULES, Memory


class Fuse(NamedTuple):
    """Multi-scale: a clip's logits are those of the maximum of all layers' features and the input's, as in training."""


class Select(NamedTuple):
    """Multi-temporal-scale selection: a clip stops at the first layer where one of its snippets scores above the threshold."""

    exit_threshold: float  # in [0, 1]; 1 never stops early


FUSE = Fuse()
# (layer's index, x (n, T, D), the clips that still go on (n,), which of all clips have stopped (N,)) -> (n, T, D)
Advance = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class Output(NamedTuple):
    """One row per clip; a clip that is not key has the logits, but for its own change, and the layer of the last key clip."""

    logits: Tensor  # (N, T) one per snippet, before the sigmoid
    exit_layer: Tensor  # (N,) int64, the layer the logits were taken at, 1 = first; without selection, the last
    key: Tensor  # (N,) bool
    judges: tuple[Tensor, ...] = ()  # of whole videos, what training compares: the scene's (N, T) logits, and change's


class StreamMemory(NamedTuple):
    """All that B live streams need to go on. A value: `step` makes a new one and leaves this one as it is."""

    gate: kcg.Gate
    layers: tuple[Memory, ...]
    past: Past | tuple[()]  # () where change does not count
    logits: Tensor  # (B, T) of the last key clip, without its change
    exit_layer: Tensor  # (B,) int64

    def take(self, streams: Tensor) -> "StreamMemory":
        """The memory of some of the streams, by their (n,) places."""
        return of_each(lambda field: field[streams], self)

    def put(self, streams: Tensor, other: "StreamMemory") -> "StreamMemory":
        """The memory with `other` in these (n,) places."""
        return of_each(lambda field, new: field.index_copy(0, streams, new), self, other)

    def join(self, *others: "StreamMemory") -> "StreamMemory":
        """The memory of these streams, and of others behind them."""
        return of_each(lambda *fields: torch.cat(fields), self, *others)


def some(field: Tensor, rows: Tensor) -> Tensor:
    """These (n,) rows, ascending, of a field; all of them cost nothing."""
    return field if len(rows) == len(field) else field[rows]


def with_rows(field: Tensor, rows: Tensor, new: Tensor) -> Tensor:
    """The field with `new` in these (n,) rows, ascending."""
    return new if len(rows) == len(field) else field.index_copy(0, rows, new)


def of_each(work: Callable[..., Tensor], *memories: Any) -> Any:
    """The work's results for the tensors in each place of alike nested tuples, as such a nested tuple."""
    first = memories[0]
    if isinstance(first, Tensor):
        return work(*memories)
    fields = [of_each(work, *parts) for parts in zip(*memories, strict=True)]
    return type(first)(*fields) if hasattr(first, "_fields") else tuple(fields)


class LSHMA(nn.Module):
    """The whole model."""

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
        head: str = "mlp",
        change: Change | None = None,
        **drop_rates: float,
    ):
        super().__init__()
        self.change = change
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
        self.linear, self.mlp = (nn.Linear(width, width), MLP(width)) if head == "mlp" else (nn.Identity(), None)
        self.classifier = nn.Linear(width, 1)
        if head == "linear":
            nn.init.zeros_(self.classifier.weight)
            nn.init.zeros_(self.classifier.bias)
        self.forgetting = forgetting

    def forward(self, clips: Tensor, starts: Tensor, *, key_clips: bool, scales: Fuse | Select) -> Output:
        """Whole videos at once.

        Args:
            clips: (N, T, D) float32, the videos one after another. starts: (V,) int64 on the same device, each
                video's first clip, ascending from 0.
            key_clips: whether the KCG drops redundant clips; a dropped clip inherits the last key clip's logits.
        Raises ValueError where clips have another shape.
        """
        self.require_whole(clips)
        n = torch.arange(len(clips), device=clips.device)
        key = kcg.select(clips, starts) if key_clips else torch.ones_like(n, dtype=torch.bool)
        video = torch.searchsorted(starts, n, right=True)[key]

        def advance(i: int, x: Tensor, going: Tensor, stopped: Tensor) -> Tensor:
            # a stop empties the deeper memories: what comes after it is a new segment to them
            segment = (video + stopped.cumsum(0))[going]
            return self.layers[i](x, segment, self.odds(x)) if len(x) else x

        logits, exit_layer = self.through_layers(clips[key] + self.position, scales, advance)
        last_key = key.cumsum(0) - 1
        judges = (logits[last_key],) if self.change is None else (logits[last_key], self.change.whole(clips, starts))
        return Output(joined(*judges), exit_layer[last_key], key, judges)

    def through_layers(self, x: Tensor, scales: Fuse | Select, advance: Advance) -> tuple[Tensor, Tensor]:
        """The clips through all layers, or as far as they go: x (N, T, D) -> logits (N, T), exit layers (N,).

        `advance` takes the clips that still go on through a layer; it is asked for every layer, for none of them too.
        """
        going = torch.arange(len(x), device=x.device)
        stopped = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        logits, exit_layer = x.new_empty(x.shape[:2]), torch.empty_like(going)
        fuse = isinstance(scales, Fuse) or not self.layers
        z = self.linear(x) if fuse else None
        for i in range(len(self.layers)):
            x = advance(i, x, going, stopped)
            if fuse:
                z = torch.maximum(z, self.linear(x))
            elif i + 1 < len(self.layers) and scales.exit_threshold < 1:  # no score exceeds 1: they need not be looked at
                these = self.head(self.linear(x))  # (n, T)
                logits = logits.index_copy(0, going, these.to(logits.dtype))
                exit_layer = exit_layer.index_fill(0, going, i + 1)
                sure = is_sure(these, scales.exit_threshold)
                stopped = stopped.index_fill(0, going[sure], True)
                going, x = going[~sure], x[~sure]
        last, exit_layer = self.head(z if fuse else self.linear(x)), exit_layer.index_fill(0, going, len(self.layers))
        if len(going) == len(logits):  # the head's own tensor, in the precision in which training sums its gradients
            return last, exit_layer
        return logits.index_copy(0, going, last.to(logits.dtype)), exit_layer

    def require_whole(self, clips: Tensor) -> None:
        """Raise ValueError where clips are not (., T, D)."""
        if clips.shape[1:] != self.position.shape:
            window, width = self.position.shape
            raise ValueError(
                f"expected clips of {window} snippets of width {width}, (N, {window}, {width}), found {tuple(clips.shape)}; "
                "pad a video's last, short clip with zeros, as dataset.pack does"
            )

    def head(self, z: Tensor) -> Tensor:
        """(..., D) -> (...) logits."""
        if self.mlp is None:  # sqrt(D): so few weights must move faster, at the learning rate of a whole model
            return self.classifier(z).squeeze(-1) * z.shape[-1] ** 0.5
        return self.classifier(z + self.mlp(z)).squeeze(-1)

    @torch.no_grad()
    def odds(self, x: Tensor) -> Tensor | None:
        """The odds that clips are anomalous, as the model sees them between layers: (N, T, D) -> (N,), above 0, detached.

        p / (1 - p) = exp(logit) of a clip's most suspicious snippet at the scale of x. None where the rule does not ask.
        """
        return self.head(self.linear(x)).float().amax(1).exp() if RULES[self.forgetting].by_odds else None

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
        past = () if self.change is None else empty_past(n_streams, width, device)
        return StreamMemory(kcg.empty_gate(n_streams, device), tuple(layers), past, logits, exit_layer)

    def step(
        self, clips: Tensor, memory: StreamMemory, *, key_clips: bool, scales: Fuse | Select
    ) -> tuple[Output, StreamMemory]:
        """The next clip of each of B independent streams: (B, T, D) -> one row per stream, and the memory to go on with.

        Raises ValueError where clips have another shape.
        """
        self.require_whole(clips)
        if key_clips:
            key, gate = kcg.step(clips, memory.gate)
        else:
            key, gate = torch.ones(len(clips), dtype=torch.bool, device=clips.device), memory.gate
        streams, layers = key.nonzero().squeeze(1), []

        def advance(i: int, x: Tensor, going: Tensor, stopped: Tensor) -> Tensor:
            past = memory.layers[i].emptied(torch.zeros_like(key).index_fill(0, streams[stopped], True))
            if len(going):
                rows = streams[going]
                x, now = self.layers[i].step(x, of_each(lambda field: some(field, rows), past), self.odds(x))
                past = of_each(lambda field, new: with_rows(field, rows, new), past, now)
            layers.append(past)
            return x

        of_key, layer_of_key = self.through_layers(clips[key] + self.position, scales, advance)
        logits = memory.logits.index_copy(0, streams, of_key.to(memory.logits.dtype))
        exit_layer = memory.exit_layer.index_copy(0, streams, layer_of_key)
        judged, past = self.judged(clips, logits, memory.past)
        return Output(judged, exit_layer, key), StreamMemory(gate, tuple(layers), past, logits, exit_layer)

    def judged(self, clips: Tensor, scene: Tensor, past: Past | tuple[()]) -> tuple[Tensor, Past | tuple[()]]:
        """The logits of all judges of the next clips, from the scene's: (B, T, D), (B, T) -> (B, T); and change's new past."""
        if self.change is None:
            return scene, past
        changed, past = self.change.step(clips, past)
        return joined(scene, changed), past


def build(options: Namespace) -> LSHMA:
    """The model that the options describe, with fresh weights."""
    return LSHMA(
        width=options.visual_width,
        layers=options.visual_layers,
        window=options.attn_window,
        cache_keep_max_len=options.cache_keep_max_len,
        p=options.p,
        forgetting=options.forgetting,
        attn_merge=options.attn_merge,
        head=options.head,
        change=change_of(options),
        drop_rate=options.drop_rate,
        drop_attn_rate=options.drop_attn_rate,
        drop_qkv_rate=options.drop_qkv_rate,
    )


def change_of(options: Namespace) -> Change | None:
    """What judges beside the scene; None where no part of it is asked for."""
    parts = {name: getattr(options, name) for name in ("motion", "novelty", "channels")}
    return Change(options.visual_width, **parts) if any(parts.values()) else None


def scales_of(options: Namespace) -> Fuse | Select:
    """What is scored in testing."""
    return FUSE if options.scales == "fuse" else Select(options.exit_threshold)


def is_sure(logits: Tensor, exit_threshold: float) -> Tensor:
    """Whether a clip's largest score, padding included, exceeds the threshold: (N, T) -> (N,) bool."""
    return logits.float().sigmoid().amax(1) > exit_threshold
