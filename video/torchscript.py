"""The tensors of a TorchScript archive, as OpenAI published CLIP: of its pickle tensors alone are read, its code never.

torch.jit.load compiles such an archive's code, and torch.load(weights_only=True) refuses it.
"""

import io
import pickle
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

KINDS = {
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# what damaged archives and pickles raise; OSError of a seek to before the file's beginning
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, LookupError, TypeError, ValueError, AttributeError, RuntimeError)
DAMAGED += (MemoryError, OverflowError, OSError)


def is_archive(path: Path) -> bool:
    """Whether a file is a TorchScript archive, whole or not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except DAMAGED:
        return False


def read(path: Path) -> dict[str, Tensor]:
    """The parameters and buffers of an archive by their names, on the CPU. Raises ValueError that says what is wrong."""
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
            module = TensorsOnly(archive, root.removesuffix("/data.pkl")).load()
        return dict(tensors_of(module, ""))
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: not loaded, since {error}; only tensors and plain values are") from error
    except (StopIteration, *DAMAGED) as error:
        raise ValueError(f"{path}: truncated or damaged; copy or download it again") from error


class Part:
    """A module of the archive, of whatever class: its attributes alone."""

    attributes: Any = None

    def __setstate__(self, attributes: Any) -> None:
        self.attributes = attributes


def rebuilt(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """The tensor that lies so in its storage. Raises RuntimeError where it would reach beyond it."""
    return storage.as_strided(size, stride, offset)


def first(value: Any, *_: Any) -> Any:
    """A value without the note of its type."""
    return value


KNOWN = {
    ("torch._utils", "_rebuild_tensor_v2"): rebuilt,
    ("collections", "OrderedDict"): dict,
    ("torch", "device"): str,
    **{("torch.jit._pickle", f"build_{kind}list"): first for kind in ("int", "double", "bool", "tensor")},
    ("torch.jit._pickle", "restore_type_tag"): first,
}


class TensorsOnly(pickle.Unpickler):
    """Reads an archive's data.pkl. Whatever it names that is no tensor, module or plain value is refused, unseen."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self.archive, self.root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return Part
        if module == "torch" and name in KINDS:
            return KINDS[name]
        if (module, name) in KNOWN:
            return KNOWN[module, name]
        raise pickle.UnpicklingError(f"it carries code ({module}.{name})")

    def persistent_load(self, place: tuple[str, torch.dtype, str, str, int]) -> Tensor:
        _, dtype, key, _, _ = place
        content = bytearray(self.archive.read(f"{self.root}/data/{key}"))  # its checksum is verified
        return torch.from_numpy(np.frombuffer(content, np.uint8)).view(dtype)


def tensors_of(part: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a module and of those in it, named as in its state_dict."""
    if not isinstance(part.attributes, dict):
        return
    for name, value in part.attributes.items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Part):
            yield from tensors_of(value, f"{prefix}{name}.")
