"""All that a camera needs to go on, as arrays that can be kept, and checked when they come back.

Shapes: fewer than T snippets that wait for their clip, D width, M remembered clips.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from model import StreamMemory, of_each


@dataclass
class StreamState:
    """What a camera has that the model does not remember."""

    waiting: np.ndarray  # (fewer than T, D) float32 snippets whose clip is not whole yet
    n_scored: int = 0
    last: np.ndarray = field(default_factory=lambda: np.empty(0, np.float32))  # logits that the next scores are smoothed with


def arrays_of(camera: StreamState, memory: StreamMemory) -> dict[str, np.ndarray]:
    """A camera and the model's memory of it, one row, as arrays of their own."""
    fields: list[torch.Tensor] = []
    of_each(fields.append, memory)
    of_camera = {"waiting": camera.waiting.copy(), "n_scored": np.array(camera.n_scored), "last": camera.last.copy()}
    return of_camera | {f"memory_{i}": tensor.cpu().numpy() for i, tensor in enumerate(fields)}


def from_arrays(
    arrays: Mapping[str, np.ndarray], camera: StreamState, memory: StreamMemory, smooth_width: int
) -> tuple[StreamState, StreamMemory]:
    """The camera and the row of memory that these arrays are of; `camera` and `memory` are such that have seen nothing.

    Raises ValueError that names the array that is not as this model's are.
    """
    fresh = arrays_of(camera, memory)
    if odd := arrays.keys() ^ fresh.keys():
        raise ValueError(f"{min(odd)} is {'missing' if min(odd) in fresh else 'too much'}: of another model; let it begin anew")
    at_most = {"waiting": memory.logits.shape[1] - 1, "last": max(0, smooth_width - 1)}  # the others' lengths are given
    for name, like in fresh.items():
        found = np.asarray(arrays[name])
        length = found.shape[:1] if name in at_most and found.shape[:1] <= (at_most[name],) else like.shape[:1]
        if (found.dtype, found.shape) != (like.dtype, length + like.shape[1:]):
            text = f"expected {like.dtype} of shape {length + like.shape[1:]}, found {found.dtype} of shape {found.shape}"
            raise ValueError(f"{name}: {text}: of another model or other options; let it begin anew")
    n_scored, n_last = int(arrays["n_scored"]), len(arrays["last"])
    if n_last != min(n_scored, at_most["last"]):
        text = f"last: expected the last {at_most['last']} of {n_scored} logits, found {n_last}"
        raise ValueError(f"{text}: of other options; let it begin anew")
    kept = (torch.from_numpy(np.array(arrays[name])) for name in fresh if name.startswith("memory_"))
    remembered = of_each(lambda field: next(kept).to(field.device), memory)
    return StreamState(np.array(arrays["waiting"]), n_scored, np.array(arrays["last"])), remembered
