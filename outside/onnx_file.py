"""ONNX files: a network as a graph, what it is, in words that programs read, and a seal by which damage shows.

What it is stands as JSON under the key `lshma` of the file's metadata. The JSON ends the file, and ends with the sha256 of all
that stands before that: any program of ONNX reads the file, and this one reads none that has changed.
"""

import hashlib
import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from files import atomic, extra

FORMAT = "lshma onnx 1"
KEY = "lshma"
SEAL = 64  # characters of a sha256
END = b'"}'


def needed(name: str) -> Any:
    """Import a package of requirements-export.txt. Raises ValueError with the remedy where it is not installed."""
    return extra.needed(name, "export")


@torch.no_grad()
def trace(network: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], axis: str) -> Any:
    """A network that takes the inputs, in their order, as an onnx.ModelProto; their first axis, named `axis`, may have any
    length. Give two or more along it: PyTorch takes one for a constant.
    """
    for name in ("onnx", "onnxscript"):
        needed(name)
    shapes = {"inputs": tuple({0: torch.export.Dim(axis)} for _ in inputs)}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of packages that are not needed here
    with warnings.catch_warnings(action="ignore"):  # PyTorch's of itself
        # by itself first: torch.onnx.export would go on with a fixed length where the traced one fails to be free
        program = torch.export.export(network, tuple(inputs.values()), dynamic_shapes=shapes, strict=False)
        names = {"input_names": list(inputs), "output_names": list(outputs)}
        return torch.onnx.export(program, dynamo=True, dynamic_shapes=shapes, verbose=False, **names).model_proto


def write(path: Path, graph: Any, told: Mapping[str, Any]) -> None:
    """Write a graph and what is told of it, plain values, whole or not at all. Raises OSError."""
    onnx = needed("onnx")
    text = json.dumps({"format": FORMAT, **told, "sha256": "0" * SEAL})
    entry = onnx.StringStringEntryProto(key=KEY, value=text)
    # messages one after the other are one message
    content = graph.SerializeToString() + onnx.ModelProto(metadata_props=[entry]).SerializeToString()
    before = content[: -SEAL - len(END)]
    with atomic.replacing(path) as file:
        file.write(before + hashlib.sha256(before).hexdigest().encode() + END)


def read(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """An onnxruntime.InferenceSession of a file that `write` wrote, on as many threads as PyTorch's, and what is told of it.

    Raises FileNotFoundError, or ValueError where it is damaged, of another program or version, or onnxruntime is missing.
    """
    path, onnxruntime = Path(path), needed("onnxruntime")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; python export.py CHECKPOINT --out {path} writes one")
    content = path.read_bytes()
    before, seal = content[: -SEAL - len(END)], content[-SEAL - len(END) :]
    if seal != hashlib.sha256(before).hexdigest().encode() + END:
        raise ValueError(f"{path}: no file as export.py writes them, or damaged or changed since; export the checkpoint again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # or they are far slower where cores are shared
    options.log_severity_level = 3
    errors = needed("onnxruntime.capi.onnxruntime_pybind11_state")
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    refused = tuple(getattr(errors, name) for name in names)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except refused as error:
        raise ValueError(f"{path}: onnxruntime {onnxruntime.__version__} refuses it ({error}); export it again") from None
    told = json.loads(session.get_modelmeta().custom_metadata_map[KEY])
    if told["format"] != FORMAT:
        raise ValueError(f"{path}: of another version of export.py ({told['format']}, not {FORMAT}); export it again")
    return session, told
