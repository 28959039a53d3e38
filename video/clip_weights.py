"""Weights of CLIP's ViT-B/16 image tower from whatever file people have, under transformers' names. Files are read, never run.

A Hugging Face folder (model.safetensors or pytorch_model.bin, of the whole CLIP or its image half), a .safetensors file,
OpenAI's ViT-B-16.pt (TorchScript), and open_clip's files (OpenAI's names), in any precision.

The activation is QuickGELU, always: OpenAI's weights were trained with it. open_clip also publishes weights trained with GELU
(LAION's, DataComp's); they have the same names and shapes, so that their file cannot be told from OpenAI's, and with them the
features are silently not what those weights were trained to give. Where a config.json says GELU, a warning does.
"""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from torch import Tensor

from files import checkpoint
from files.extra import needed
from video import torchscript

TOWER = dict(
    hidden_size=768,
    num_hidden_layers=12,
    num_attention_heads=12,
    intermediate_size=3072,
    patch_size=16,
    image_size=224,
    projection_dim=512,
    layer_norm_eps=1e-5,
    hidden_act="quick_gelu",
)
IN_FOLDER = ("model.safetensors", "pytorch_model.bin")
ACCEPTED = (
    "give CLIP ViT-B/16 as OpenAI's ViT-B-16.pt, open_clip's file, a .safetensors file, or a Hugging Face folder with "
    + " or ".join(IN_FOLDER)
)
NAMES = (  # OpenAI's and open_clip's on the left
    (r"class_embedding", r"vision_model.embeddings.class_embedding"),
    (r"conv1\.weight", r"vision_model.embeddings.patch_embedding.weight"),
    (r"positional_embedding", r"vision_model.embeddings.position_embedding.weight"),
    (r"ln_pre\.(\w+)", r"vision_model.pre_layrnorm.\1"),
    (r"ln_post\.(\w+)", r"vision_model.post_layernorm.\1"),
    (r"proj", r"visual_projection.weight"),
    (r"transformer\.resblocks\.(\d+)\.ln_(\d)\.(\w+)", r"vision_model.encoder.layers.\1.layer_norm\2.\3"),
    (r"transformer\.resblocks\.(\d+)\.attn\.(in_proj_|out_proj\.)(\w+)", r"vision_model.encoder.layers.\1.self_attn.\2\3"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(\w+)", r"vision_model.encoder.layers.\1.mlp.fc1.\2"),
    (r"transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(\w+)", r"vision_model.encoder.layers.\1.mlp.fc2.\2"),
)
PATCHES, POSITIONS = "vision_model.embeddings.patch_embedding.weight", "vision_model.embeddings.position_embedding.weight"
COUNTED = "vision_model.embeddings.position_ids"  # 0, 1, 2, ...: older transformers saved it


def load(path: str, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The image tower's weights, float32, with the names and shapes of `expected`.

    Raises FileNotFoundError, or ValueError that says what is wrong with the file and what is accepted.
    """
    file = file_of(Path(path))
    weights = read(file)
    try:
        weights = {name: checkpoint.require_weight(name, value, file) for name, value in tower_of(weights, file).items()}
    except RuntimeError as error:  # a tensor of another shape than its name says
        raise ValueError(f"{file}: not CLIP's ViT-B/16: {error}; {ACCEPTED}") from error
    require_tower(weights, expected, file)
    if (config := file.with_name("config.json")).is_file():
        require_config(config)
    return weights


def file_of(path: Path) -> Path:
    """The file of weights that a path means: itself, or that in a Hugging Face folder."""
    if not path.is_dir():
        return path
    found = [path / name for name in IN_FOLDER if (path / name).is_file()]
    if not found:
        raise ValueError(f"{path}: holds no {' and no '.join(IN_FOLDER)}; {ACCEPTED}")
    return found[0]


def read(file: Path) -> dict[str, Tensor]:
    """The tensors of a file by their bare names. Raises as `load`."""
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; {ACCEPTED}")
    if file.suffix == ".safetensors":
        try:
            return needed("safetensors.torch").load_file(file)
        except needed("safetensors").SafetensorError as error:
            raise ValueError(
                f"{file}: truncated or damaged, or no safetensors file ({error}); copy or download it again"
            ) from error
    if torchscript.is_archive(file):
        return torchscript.read(file)
    weights = checkpoint.read(file)
    while isinstance(weights, Mapping) and (inner := [name for name in checkpoint.CONTAINERS if name in weights]):
        weights = weights[inner[0]]
    if not isinstance(weights, Mapping):
        raise ValueError(f"{file}: holds a {type(weights).__name__}, no weights; {ACCEPTED}")
    return {checkpoint.WRAPPED.sub("", str(name)): value for name, value in weights.items()}


def tower_of(weights: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """The image tower among the weights of a CLIP, under transformers' names. Raises ValueError where there is none."""
    if any(name.startswith("vision_model.") for name in weights):
        ours = ("vision_model.", "visual_projection.")
        return {name: value for name, value in weights.items() if name.startswith(ours) and name != COUNTED}
    tower = {name.removeprefix("visual."): value for name, value in weights.items() if name.startswith("visual.")}
    if tower:
        other = {"attnpool.": "a ResNet", "layer1.": "a ResNet", "trunk.": "another network (of timm)"}
        found = next((what for start, what in other.items() if any(name.startswith(start) for name in tower)), None)
        if found:
            raise ValueError(f"{file}: CLIP, but its image tower is {found}; {ACCEPTED}")
        return dict(renamed(tower, file))
    if any(re.match(r"text_model\.|text_projection|token_embedding|transformer\.resblocks|text\.", name) for name in weights):
        raise ValueError(f"{file}: the text tower of CLIP alone, no image tower; {ACCEPTED}")
    what = f"{len(weights)} weights, the first {next(iter(weights))!r}" if weights else "no weights"
    raise ValueError(f"{file}: no CLIP: it holds {what}; {ACCEPTED}")


def renamed(tower: Mapping[str, Tensor], file: Path) -> Iterator[tuple[str, Tensor]]:
    """OpenAI's image tower under transformers' names: queries, keys and values apart, the projection transposed."""
    for name, value in tower.items():
        new = next((re.sub(old, new, name) for old, new in NAMES if re.fullmatch(old, name)), None)
        if new is None:
            raise ValueError(f"{file}: visual.{name} is no weight of ViT-B/16's image tower; {ACCEPTED}")
        value = checkpoint.require_weight(name, value, file)
        if ".in_proj_" in new:
            for part, piece in zip("qkv", value.tensor_split(3), strict=True):  # (3 * width, ...) -> (width, ...) each
                yield new.replace("in_proj_", f"{part}_proj."), piece
        else:
            yield new, value.t() if name == "proj" else value


def sizes_of(weights: Mapping[str, Tensor]) -> str:
    """What the shapes of a tower's weights tell of it, in words."""
    layers = len({name.split(".")[3] for name in weights if name.startswith("vision_model.encoder.layers.")})
    patches, positions = (tuple(weights[name].shape) if name in weights else () for name in (PATCHES, POSITIONS))
    patch = f"width {patches[0]}, patches of {patches[-1]} pixels" if len(patches) == 4 else "no patches"
    return f"{patch}, {positions[0] if positions else 'no'} positions, {layers} layers"


def require_tower(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], file: Path) -> None:
    """Raise ValueError where these are not all weights of the tower and no others, each of its shape and finite."""
    if (found := sizes_of(weights)) != (right := sizes_of(expected)):
        raise ValueError(f"{file}: not CLIP's ViT-B/16: expected {right}; found {found}; {ACCEPTED}")
    if wrong := checkpoint.misfits(weights, expected):
        raise ValueError(f"{file}: {len(wrong)} weights are not CLIP ViT-B/16's: {', '.join(wrong[:3])}; {ACCEPTED}")
    if broken := checkpoint.not_finite(weights):
        raise ValueError(f"{file}: {broken[0]} holds NaN or infinity; copy or download it again")


def require_config(config: Path) -> None:
    """Raise ValueError where a config.json beside the weights is another network's; warn where its activation is another."""
    try:
        told = json.loads(config.read_text())
        told = dict(told.get("vision_config") or told)
        differing = {name: told[name] for name in TOWER if name in told and told[name] != TOWER[name]}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{config}: no model's config.json ({error}); copy or download it again") from error
    activation = differing.pop("hidden_act", None)
    if differing:
        both = ", ".join(f"{name} is {TOWER[name]} in CLIP's ViT-B/16, here {value}" for name, value in differing.items())
        raise ValueError(f"{config}: {both}; {ACCEPTED}")
    if activation:
        print(
            f"warning: {config} says that these weights were trained with {activation}; they are run with quick_gelu, as "
            "OpenAI's were trained, and the features are wrong if it is right: use OpenAI's weights",
            file=sys.stderr,
        )
