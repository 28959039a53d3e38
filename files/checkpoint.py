"""Checkpoint files: ours, saved atomically, and the authors', read under our names. Loading one executes nothing.

checkpoint = load("runs/ucf/best.pt")
checkpoint.weights, checkpoint.options
"""

import io
import pickle
import re
import zipfile
import zlib
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from files import atomic
from option import flag_of

FORMAT = "lshma 1"
CONTAINERS = ("model_state_dict", "state_dict", "model")  # where weights lie in a file
WRAPPED = re.compile(r"^(module\.|_orig_mod\.|model\.|net\.)+")  # of DataParallel, torch.compile and Lightning
RELEASED_NAMES = (  # the authors' name on the left (METHOD, section 5)
    (r"blocks\.(\d+)\.resblock\.ln_1\.", r"layers.\1.norm1."),
    (r"blocks\.(\d+)\.resblock\.ln_2\.", r"layers.\1.norm2."),
    (r"blocks\.(\d+)\.resblock\.mlp\.c_fc\.", r"layers.\1.mlp.fc."),
    (r"blocks\.(\d+)\.resblock\.mlp\.c_proj\.", r"layers.\1.mlp.proj."),
    (r"blocks\.(\d+)\.resblock\.compress_k\.", r"layers.\1.compress_memory."),
    (r"blocks\.(\d+)\.resblock\.compress_cur\.", r"layers.\1.compress_current."),
    (r"blocks\.(\d+)\.resblock\.attenproj\.", r"layers.\1.up."),
    (r"mlp2\.c_fc\.", r"mlp.fc."),
    (r"mlp2\.c_proj\.", r"mlp.proj."),
    (r"(linear|classifier)\.", r"\1."),
    (r"frame_position_embeddings\.weight", r"position"),
)
OUR_NAMES = re.compile(r"(position|(layers\.\d+|mlp|linear|classifier|change)\..+)$")
RELEASED_UNUSED = re.compile(r"blocks\.\d+\.resblock\.proj\.(weight|bias)")
# a released file may hold its best metric as a numpy number: plain data, but not on torch's list of safe types
SAFE = [
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    np._core.multiarray.scalar,
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8")),
]


def save(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all. Raises OSError where it cannot; the earlier file then stands."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **content}, buffer)
    with atomic.replacing(path) as file:
        file.write(buffer.getbuffer())


class Checkpoint(NamedTuple):
    """What a checkpoint file holds."""

    path: str
    weights: dict[str, Tensor]  # under our names, float32
    options: dict[str, Any] | None  # of the training; None = the file does not say
    released: bool  # whether the weights are under the authors' names
    video_threshold: float | None  # the one on a video's largest score with the best F1 on the validation videos
    run: dict[str, Any] | None  # all that a run of ours needs to go on; None = weights alone
    saved_at: int | None = None  # the file's time of change in nanoseconds, as it was read


def read(path: str | Path) -> Any:
    """The content of a file of torch.save, on the CPU, its checksums verified: tensors and plain values, nothing executed.

    Raises FileNotFoundError, or ValueError that says what is wrong with the file.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the checkpoint in it, as best.pt")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file; give one of ours (runs/.../best.pt) or the authors'")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"{path}: damaged (checksum of {damaged}); copy or download it again")
        with torch.serialization.safe_globals(SAFE):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it carries code ({reason[1]})" if reason else "it is not made of tensors and plain values"
        raise ValueError(f"{path}: not loaded, since {what}; only tensors and plain values are") from error
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: truncated or damaged, or not a file that torch.save (1.6 or later) wrote") from error


def load(path: str | Path) -> Checkpoint:
    """Read a checkpoint. Raises FileNotFoundError, or ValueError that names what is wrong with it."""
    saved_at = Path(path).stat().st_mtime_ns if Path(path).is_file() else None
    return interpret(read(path), path)._replace(saved_at=saved_at)


def interpret(content: Any, path: str | Path) -> Checkpoint:
    """What the content of a file is: a checkpoint of ours, of the authors, or bare weights of either, wrapped or not.

    Raises ValueError that names `path` where it is none of these.
    """
    if not isinstance(content, dict):
        raise ValueError(f"{path}: neither our checkpoint nor a released one: it holds a {type(content).__name__}")
    ours = content.get("format") == FORMAT
    if ours and not all(isinstance(content.get(name), dict) for name in ("model", "options")):
        raise ValueError(f"{path}: a checkpoint of ours, but without model or options; use another one")
    weights = content
    while inner := [name for name in CONTAINERS if isinstance(weights.get(name), Mapping)]:
        weights = weights[inner[0]]
    named, released = {}, False
    for name, value in weights.items():
        bare = WRAPPED.sub("", str(name))
        if RELEASED_UNUSED.fullmatch(bare):
            continue
        new = next((re.sub(old, new, bare) for old, new in RELEASED_NAMES if re.match(old, bare)), None)
        if new is None and not OUR_NAMES.match(bare):
            raise ValueError(f"{path}: neither our checkpoint nor a released one: it holds {name!r}; save the weights alone")
        if (new or bare) in named:
            raise ValueError(
                f"{path}: holds {new or bare} twice, as {name!r} and under another prefix; save one model's weights"
            )
        released |= new not in (None, bare)
        named[new or bare] = require_weight(name, value, path)
    if not {"position", "classifier.weight"} <= named.keys():
        raise ValueError(f"{path}: neither our checkpoint nor a released one: it has no LSHMA weights")
    options, threshold = (content["options"], content.get("video_threshold")) if ours else (None, None)
    return Checkpoint(str(path), named, options, released, threshold, content if ours and "optimizer" in content else None)


def require_weight(name: Any, value: Any, path: str | Path) -> Tensor:
    """The value as a float32 tensor. Raises ValueError where it is no dense tensor of real numbers."""
    plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    if not isinstance(name, str) or not plain or not value.is_floating_point():
        raise ValueError(f"{path}: {name!r} is no tensor of weights; use another checkpoint")
    return value.float()


def sizes_of(weights: Mapping[str, Tensor]) -> dict[str, int | str]:
    """The options that the names and shapes of weights tell."""
    sizes = {
        "visual_layers": len({name.split(".")[1] for name in weights if name.startswith("layers.")}),
        "head": "mlp" if "linear.weight" in weights else "linear",
    }
    if weights["position"].dim() == 2:
        sizes["attn_window"], sizes["visual_width"] = weights["position"].shape
    return sizes


def load_weights(model: nn.Module, checkpoint: Checkpoint, options: Namespace) -> None:
    """Put weights into a model built with `options`. Raises ValueError that says which option disagrees, with both values."""
    weights, path = checkpoint.weights, checkpoint.path
    for name, value in sizes_of(weights).items():
        if value != getattr(options, name):
            flag = flag_of(name)
            if "variant" in options.given and name not in options.given:
                raise ValueError(f"{path}: trained with {flag} {value}, which --variant {options.variant} is not; leave it out")
            raise ValueError(
                f"{path}: trained with {flag} {value}, but {flag} is {getattr(options, name)}; pass {flag} {value}, "
                f"or use the scripts of the data set it was trained on"
            )
    if wrong := misfits(weights, model.state_dict()):
        remedy = "leave flags of the model out; where an earlier version of this program wrote it, train again"
        if checkpoint.options is None and not checkpoint.released:
            remedy = "they lie without options: pass those of their training, as --variant ours, or give best.pt"
        raise ValueError(f"{path}: {len(wrong)} weights are not this model's: {', '.join(wrong[:3])}; {remedy}")
    if broken := not_finite(weights):
        raise ValueError(f"{path}: {broken[0]} holds NaN or infinity; use an earlier checkpoint")
    model.load_state_dict(weights)


def misfits(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """The weights that a network lacks, does not have, or has in another shape: name, what was expected and found."""
    return [
        f"{name} (expected {tuple(expected[name].shape) if name in expected else 'nothing'}, "
        f"found {tuple(weights[name].shape) if name in weights else 'nothing'})"
        for name in sorted(expected.keys() | weights.keys())
        if name not in expected or name not in weights or expected[name].shape != weights[name].shape
    ]


def not_finite(weights: Mapping[str, Tensor]) -> list[str]:
    """The names of those that hold NaN or infinity."""
    return [name for name, value in weights.items() if not value.isfinite().all()]
