"""Checkpoint files: ours, saved atomically, and the authors', read under our names. Loading one executes nothing.

content = checkpoint.load("runs/ucf/best.pt")
weights, options = checkpoint.weights_of(content, "runs/ucf/best.pt")
"""

import io
import pickle
import re
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from files import atomic

FORMAT = "lshma 1"
CONTENT = {**dict.fromkeys(("model", "options", "digests", "optimizer", "scheduler", "progress"), dict), "random": list}
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


def load(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint file, ours or released, on the CPU, its checksums verified.

    Raises FileNotFoundError, or ValueError that says what is wrong with the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint file; give one of ours (runs/.../best.pt) or the authors'")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"{path}: damaged (checksum of {damaged}); copy or download it again")
        with torch.serialization.safe_globals(SAFE):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = re.search(r"GLOBAL (\S+)", str(error))
        what = f"it carries code ({reason[1]})" if reason else "it is not made of tensors and plain values"
        raise ValueError(f"{path}: not loaded, since {what}; only tensors and plain values are") from error
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, KeyError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: truncated or damaged, or not a file that torch.save (1.6 or later) wrote") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: neither our checkpoint nor a released one: it holds a {type(content).__name__}")
    return content


def is_ours(content: Mapping[str, Any]) -> bool:
    """Whether this is a checkpoint that `save` wrote."""
    return content.get("format") == FORMAT


def video_threshold(content: Mapping[str, Any]) -> float | None:
    """The threshold of videos' largest scores with the best F1 on the validation videos of the training, if it had some."""
    return (content["progress"]["last"] or {}).get("val_threshold") if is_ours(content) else None


def weights_of(content: Mapping[str, Any], path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Weights under our names, and the options they were trained with (None: a released file does not say).

    Raises ValueError naming `path` where the content is of neither kind.
    """
    if is_ours(content):
        broken = [name for name, kind in CONTENT.items() if not isinstance(content.get(name), kind)]
        if broken:
            raise ValueError(f"{path}: a checkpoint of ours, but without {', '.join(broken)}; use another one")
        return {name: require_weight(name, value, path) for name, value in content["model"].items()}, content["options"]
    released = content.get("model_state_dict", content)
    named = {}
    for name, value in released.items() if isinstance(released, Mapping) else ():
        if isinstance(name, str) and RELEASED_UNUSED.fullmatch(name):
            continue
        new = next((re.sub(old, new, name) for old, new in RELEASED_NAMES if re.match(old, str(name))), None)
        if new is None:
            raise ValueError(f"{path}: neither our checkpoint nor a released one: it holds {name!r}")
        named[new] = require_weight(name, value, path)
    if not {"position", "linear.weight", "classifier.weight"} <= named.keys():
        raise ValueError(f"{path}: neither our checkpoint nor a released one: it has no LSHMA weights")
    return named, None


def require_weight(name: Any, value: Any, path: str | Path) -> Tensor:
    """The value as a float32 tensor. Raises ValueError where it is no dense tensor of real numbers."""
    plain = isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu"
    if not isinstance(name, str) or not plain or not value.is_floating_point():
        raise ValueError(f"{path}: {name!r} is no tensor of weights; use another checkpoint")
    return value.float()


def load_weights(model: nn.Module, weights: Mapping[str, Tensor], options: Namespace, path: str | Path) -> None:
    """Put weights into a model built with `options`. Raises ValueError that says which option disagrees, with both values."""
    found = {"visual_layers": len({name.split(".")[1] for name in weights if name.startswith("layers.")})}
    if "position" in weights and weights["position"].dim() == 2:
        found["attn_window"], found["visual_width"] = weights["position"].shape
    for name, value in found.items():
        if value != getattr(options, name):
            flag = "--" + name.replace("_", "-")
            raise ValueError(
                f"{path}: trained with {flag} {value}, but {flag} is {getattr(options, name)}; pass {flag} {value}, "
                f"or use the scripts of the data set it was trained on"
            )
    expected = model.state_dict()
    wrong = [
        f"{name} (expected {tuple(expected[name].shape) if name in expected else 'nothing'}, "
        f"found {tuple(weights[name].shape) if name in weights else 'nothing'})"
        for name in sorted(expected.keys() | weights.keys())
        if name not in expected or name not in weights or expected[name].shape != weights[name].shape
    ]
    if wrong:
        raise ValueError(f"{path}: {len(wrong)} weights are not this model's: {', '.join(wrong[:3])}")
    broken = [name for name, value in weights.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f"{path}: {broken[0]} holds NaN or infinity; use an earlier checkpoint")
    model.load_state_dict(weights)
