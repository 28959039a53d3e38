"""Named values as bytes and back: arrays to the bit, and what JSON can say. Reading runs nothing."""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from files.npy import NOT_NPZ


def packed(values: Mapping[str, Any]) -> bytes:
    """Bytes that hold these; the same for the same values. Raises TypeError where JSON cannot say one that is no array."""
    arrays = {f"array {name}": value for name, value in values.items() if isinstance(value, np.ndarray)}
    others = {name: value for name, value in values.items() if not isinstance(value, np.ndarray)}
    arrays["others"] = np.frombuffer(json.dumps(others, default=plain).encode(), np.uint8)
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def plain(value: object) -> Any:
    """A number of numpy's as one of Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} {value!r} is neither an array nor what JSON can say")


def unpacked(content: bytes) -> dict[str, Any]:
    """What was packed. Raises ValueError where the bytes are damaged."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file}
        others = json.loads(arrays.pop("others").tobytes())
    except NOT_NPZ as error:
        raise ValueError(f"no whole values: {error}") from error
    return {name.removeprefix("array "): array for name, array in arrays.items()} | others
