"""From a checkpoint to a model that is ready to run, and the device it runs on."""

import copy
from argparse import Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

import model
import own_option
import ucf_option
import xd_option
from files import checkpoint, origin
from files.checkpoint import Checkpoint
from hma import MLP
from option import MODEL, Parser, adopt, flag_of, parse, resolve_variant
from outside.exported import Exported
from running import products
from running.command import launched

PARSERS = (ucf_option.parser, xd_option.parser, own_option.parser)  # the first with a window is the authors' for it


def load_model(path: str | None, options: Namespace | None = None) -> tuple[model.LSHMA | Exported, Namespace, Checkpoint]:
    """The model of a checkpoint, ours or the authors', in evaluation mode on the CPU; the options to run it with; the file.
    Or that of an ONNX file of export.py, `.onnx`: where options change later, see `require_runnable`.

    What a checkpoint of ours says of its model wins, where the command line of `options` does not say otherwise; the authors'
    is of the variant `released`, and of the data set whose clips are as long. Without `options` a checkpoint of ours brings its
    own, and the authors' has those of that data set; those that are given are changed in place. Raises FileNotFoundError, or
    ValueError that names what is wrong.
    """
    if path is None:
        raise ValueError("--model-path is missing: give a checkpoint of ours (runs/.../best.pt) or the authors'")
    exported = Exported(path) if Path(path).suffix == ".onnx" else None
    if exported:
        loaded = Checkpoint(path, {}, exported.options, False, exported.video_threshold, None)
    else:
        loaded = checkpoint.load(path)
    names = MODEL
    if options is None:
        sizes = {} if exported else checkpoint.sizes_of(loaded.weights)  # else its options say them
        options = parse(parser_of(sizes) or PARSERS[0], [])
        vars(options).update(sizes)
        names = [name for name in loaded.options or () if hasattr(options, name) and name != "given"]
    take_options(options, loaded, names)
    resolve_variant(options)
    with torch.device("cpu"):  # whatever the program's default is, and its default precision
        built = exported or model.build(options).float()
    if exported:
        require_runnable(exported, options)
    else:
        checkpoint.load_weights(built, loaded, options)
    return built.eval(), options, loaded


def require_runnable(built: model.LSHMA | Exported, options: Namespace) -> None:
    """Raise ValueError where the options ask of an exported model what it was not exported to do."""
    if isinstance(built, Exported):
        built.require(options)


def take_options(options: Namespace, loaded: Checkpoint, names: Iterable[str]) -> None:
    """Take the named options from a checkpoint of ours; say so where a file has none."""
    if loaded.options is not None:
        if (features := loaded.options.get("features")) is not None:
            origin.require_origin(features, f"{loaded.path}, of its training's features", "use another checkpoint")
        adopt(options, loaded.options, names, loaded.path)
        return
    sizes = checkpoint.sizes_of(loaded.weights)
    own = parser_of(sizes)
    taken = {"variant": "released"} if loaded.released else {}
    if loaded.released and own:  # of two data sets: clips are as long as in one of them, and the rest is as there
        taken |= {name: own.get_default(name) for name in ("p", "cache_keep_max_len")} | sizes
    taken = {name: value for name, value in taken.items() if name not in options.given}
    elsewhere = any(getattr(options, name) != value for name, value in taken.items() if name not in ("variant", "head"))
    vars(options).update(taken)
    if not (loaded.released and own) or elsewhere:
        names = ("variant", *(("visual_layers", "attn_window") if elsewhere else ()), "p", "cache_keep_max_len")
        said = ", ".join(f"{flag_of(name)[2:]} {getattr(options, name)}" for name in names)
        print(f"note: {loaded.path} holds weights without options; taken for it: {said}")


def parser_of(sizes: Mapping[str, object]) -> Parser | None:
    """The parser of the data set whose clips are as long as these sizes of weights say; None where there is none."""
    return next((known for known in PARSERS if known.get_default("attn_window") == sizes.get("attn_window")), None)


def choose_device(name: str) -> torch.device:
    """The device of --device; of several processes each has its own. Raises ValueError where there is none of that name."""
    kind, _, number = name.partition(":")
    if launched().n > 1 and kind in ("auto", "cuda") and torch.cuda.is_available():
        if number:
            raise ValueError(f"--device {name}: torchrun's processes take a device each; use --device cuda")
        kind, number = "cuda", str(launched().local_rank)
        name = f"{kind}:{number}"
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ValueError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        n, here = launched().n, f"PyTorch sees {torch.cuda.device_count()} CUDA devices here"
        if n > 1:
            raise ValueError(f"{n} processes, and {here}; start as many with torchrun, or use --device cpu")
        raise ValueError(f"--device {name}: {here}; use --device cpu or auto")
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    if device.type == "cuda":
        if launched().n > 1:
            torch.cuda.set_device(device)  # else what is pinned would take room on the first one
        torch.backends.cudnn.allow_tf32 = False  # it would round the compressions' inputs; --precision says what is rounded
    return device


def ready(built: model.LSHMA | Exported, options: Namespace, device: torch.device) -> model.LSHMA | Exported:
    """A copy of the model to score with: in evaluation mode on the device, its MLPs folded, its products' weights in the
    precision of --precision, to which autocast would cast them at every call, and on a CPU packed. An exported one is ready as
    it is.
    """
    if isinstance(built, Exported):
        return built.to(device)
    built, half = copy.deepcopy(built).eval().to(device), options.precision == "bf16"
    products.replace(built, MLP, MLP.folded)
    for module in built.modules() if half else ():
        if isinstance(module, (nn.Linear, nn.Conv1d)):
            module.to(torch.bfloat16)
    if device.type == "cpu" and products.packable(half):
        products.pack(built)
    return built


def make_trainable(lshma: model.LSHMA, options: Namespace, device: torch.device) -> None:
    """Move the model to where it trains, in float32 on a CPU by oneDNN's products; in bf16 those are PyTorch's own."""
    lshma.to(device)
    if device.type == "cpu" and options.precision == "fp32" and products.packable(False):
        products.train_by(lshma)


def autocast(options: Namespace, device: torch.device) -> torch.autocast:
    """The context in which matrix products have the precision of --precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16")
