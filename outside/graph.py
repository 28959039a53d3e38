"""`LSHMA.step` as a graph: no choice depends on the data, so that ONNX can hold it.

Every clip goes through every layer, and masks say what of that counts: a clip that is not key, or has stopped, leaves its
memory as `step` does. `LSHMA.step` is the definition, and skips what does not count; a test holds the two equal.

All tensors are batch first. A field with one number a stream is (B, 1) here, which is how NVIDIA Triton's sequence batcher
hands on states and its START. Memory is the model's but for ages, which count from 1: an empty memory is all zeros.

Shapes: B streams, T snippets per clip, D width.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

import kcg
from hma import HMA, Memory
from model import LSHMA, Fuse, Output, Select, StreamMemory, is_sure, of_each


class Graph(nn.Module):
    """One clip of each of B streams: clips (B, T, D), reset (B, 1) bool, fields -> logits (B, T), exit_layer (B, 1), key (B, 1)
    bool, the fields to go on with.
    """

    def __init__(self, model: LSHMA, *, key_clips: bool, scales: Fuse | Select):
        super().__init__()
        self.model, self.key_clips, self.scales = model, key_clips, scales

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """`reset` marks the streams that begin anew with this clip, whatever their memory holds."""
        clips, reset, *fields = inputs
        fields = [where(reset.squeeze(1), field.new_zeros(()), field) for field in fields]
        out, memory = self.step(clips, to_memory(fields, self.model.empty_memory(1)))
        return out.logits, column(out.exit_layer), column(out.key), *to_fields(memory)

    def step(self, clips: Tensor, memory: StreamMemory) -> tuple[Output, StreamMemory]:
        """As `LSHMA.step`."""
        key, gate = torch.ones_like(clips[:, 0, 0], dtype=torch.bool), memory.gate
        if self.key_clips:
            key, gate = kcg.moved(kcg.chunk_similarity(clips), gate)
        logits, exit_layer, layers = self.through_layers(clips, key, memory)
        judged, past = self.model.judged(clips, logits, memory.past)
        return Output(judged, exit_layer, key), StreamMemory(gate, layers, past, logits, exit_layer)

    def through_layers(self, clips: Tensor, key: Tensor, memory: StreamMemory) -> tuple[Tensor, Tensor, tuple[Memory, ...]]:
        """The key (B,) clips as far as they go: logits (B, T), exit layers (B,), the layers' memory."""
        model, scales, n_layers, layers = self.model, self.scales, len(self.model.layers), []
        fuse = isinstance(scales, Fuse) or not n_layers
        x, going, logits, exit_layer = clips + model.position, key, memory.logits, memory.exit_layer
        z = model.linear(x) if fuse else None
        for i, (layer, past) in enumerate(zip(model.layers, memory.layers, strict=True), 1):
            past = past.emptied(key & ~going)
            x, now = layer_step(layer, x, past, model.odds(x))
            layers.append(of_each(lambda new, old, going=going: where(going, new, old), now, past))
            if fuse:
                z = torch.maximum(z, model.linear(x))
            elif i < n_layers and scales.exit_threshold < 1:
                these = model.head(model.linear(x))  # (B, T)
                logits, exit_layer = where(going, these, logits), exit_layer.masked_fill(going, i)
                going = going & ~is_sure(these, scales.exit_threshold)
        last = model.head(z if fuse else model.linear(x))
        return where(going, last, logits), exit_layer.masked_fill(going, n_layers), tuple(layers)


def layer_step(layer: HMA, x: Tensor, memory: Memory, odds: Tensor | None) -> tuple[Tensor, Memory]:
    """`HMA.step`: x (B, T, D) -> (B, T, D), and the memory that the next clip meets."""
    k, c, entry = layer.compress(x)
    a = layer.alone(k)
    if layer.capacity:  # ONNX has no `any` of nothing
        known = memory.age >= 0
        a = where(known.any(1), layer.remembering(k, c, memory.entries, known), a)
    return layer.onward(k, a), layer.remember(memory, k, entry, odds)


def where(streams: Tensor, this: Tensor, that: Tensor) -> Tensor:
    """Of the streams in the (B,) mask this, of the others that: (B, ...) each, or this one number for all."""
    return torch.where(streams.reshape(-1, *[1] * (that.dim() - 1)), this, that)


def column(x: Tensor) -> Tensor:
    """(B,) -> (B, 1)"""
    return x.unsqueeze(1)


def to_fields(memory: StreamMemory) -> list[Tensor]:
    """The model's memory as the graph's fields."""
    layers = tuple(layer._replace(age=layer.age + 1) for layer in memory.layers)
    fields: list[Tensor] = []
    of_each(fields.append, memory._replace(layers=layers))
    return [column(field) if field.dim() == 1 else field for field in fields]


def to_memory(fields: Iterable[Tensor], like: StreamMemory) -> StreamMemory:
    """The reverse of `to_fields`; `like` is a memory of the same model."""
    rest = iter(fields)
    memory = of_each(lambda one: next(rest).flatten() if one.dim() == 1 else next(rest), like)
    return memory._replace(layers=tuple(layer._replace(age=layer.age - 1) for layer in memory.layers))


def names_of(memory: Any, path: str = "") -> Iterator[str]:
    """The names of the fields in `of_each`'s order: gate_similarity, ..., layers_0_entries, ..., exit_layer."""
    if isinstance(memory, Tensor):
        yield path
    else:
        parts = memory._asdict().items() if hasattr(memory, "_asdict") else enumerate(memory)
        for name, part in parts:
            yield from names_of(part, f"{path}_{name}" if path else str(name))
