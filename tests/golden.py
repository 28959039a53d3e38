"""The weights and features of the golden cases: drawn from numpy's legacy RandomState, whose stream is frozen."""

import json
import zlib
from pathlib import Path

import numpy as np
import torch

WIDTH = 512
CASES = ("ucf", "xd", "longterm", "shifted")


def case(name):
    numbers = np.load(Path(__file__).parent / "golden" / f"{name}.npz")
    return numbers, json.loads(str(numbers["config"]))


def state_of(seed, name):
    return np.random.RandomState(zlib.crc32(f"{seed}:{name}".encode()))


def weight(seed, name, shape, ln_shift):
    drawn = state_of(seed, name).standard_normal(shape).astype(np.float32)
    fan_in = np.sqrt(shape[-1]).astype(np.float32)
    if ".ln_" in name:
        centre = 1.0 if name.endswith("weight") else ln_shift * (".ln_1." in name)
        return centre + 0.1 * drawn
    if name.endswith("bias"):
        return 0.02 * drawn
    if "compress" in name:
        return drawn / np.sqrt(shape[1] * shape[2]).astype(np.float32)
    if name == "frame_position_embeddings.weight":
        return 0.1 * drawn
    return (0.2 if name == "classifier.weight" else 1.0) * drawn / fan_in


def shapes(layers, window, width=WIDTH):
    """Released names and shapes, `proj` included, which is never used."""
    found = {"frame_position_embeddings.weight": (window, width)}
    linears = {"linear": (width, width), "classifier": (1, width)}
    linears |= {"mlp2.c_fc": (4 * width, width), "mlp2.c_proj": (width, 4 * width)}
    for i in range(layers):
        block = f"blocks.{i}.resblock"
        for norm in ("ln_1", "ln_2"):
            found |= {f"{block}.{norm}.{kind}": (width,) for kind in ("weight", "bias")}
        found |= {f"{block}.{name}.weight": (window, window, 3) for name in ("compress_k", "compress_cur")}
        linears |= {f"{block}.mlp.c_fc": (4 * width, width), f"{block}.mlp.c_proj": (width, 4 * width)}
        linears |= {f"{block}.proj": (width, width), f"{block}.attenproj": (width, width // 2)}
    for name, (n_out, n_in) in linears.items():
        found |= {f"{name}.weight": (n_out, n_in), f"{name}.bias": (n_out,)}
    return found


def released_state(config, width=WIDTH):
    """The weights of a case under the released names."""
    state = {
        name: torch.from_numpy(np.asarray(weight(config["seed"], name, shape, config.get("ln_shift", 0.0)), np.float32))
        for name, shape in shapes(config["visual_layers"], config["attn_window"], width).items()
    }
    return state | {"classifier.bias": torch.tensor([config["classifier_bias"]])}


def features(seed, name, length):
    """(length, 512) float32: a slow random walk with jumps."""
    rng = state_of(seed, name)
    now = rng.standard_normal(WIDTH)
    out = np.zeros((length, WIDTH))
    for i in range(length):
        if rng.rand() < 0.08:
            now = rng.standard_normal(WIDTH)
        now = 0.97 * now + 0.24 * rng.standard_normal(WIDTH)
        out[i] = now
    return (0.45 * out).astype(np.float32)
