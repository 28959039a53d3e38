"""An ONNX file of export.py in the place of a model: the same `step`, `empty_memory` and call, run by onnxruntime.

It runs on the CPU, in float32, wherever the tensors are that come in and go out. Whole videos are stepped, side by side; a
checkpoint does them far faster.

Shapes: B streams, N clips (packed over videos), V videos, T snippets per clip, D width.
"""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import model
from model import LSHMA, Fuse, Output, Select, StreamMemory
from option import ADDED, MODEL, flag_of
from outside import onnx_file
from outside.graph import Graph, names_of, to_fields, to_memory

IN, OUT = "memory", "next"  # what the fields' names begin with
N_STREAMS = 3  # a graph is traced with; any number runs
# what is in the graph, and cannot be told otherwise when it runs
FIXED = (*(name for name in MODEL if not name.startswith("drop_") and name != "variant"), "keyclip_test", "scales")
FIXED += ("exit_threshold", "precision")


def field_names(prefix: str, memory: StreamMemory) -> list[str]:
    """The names of the graph's fields: `memory_000_gate_similarity`. Sorted they are in their order, whatever the prefix."""
    return [f"{prefix}_{i:03}_{name}" for i, name in enumerate(names_of(memory))]


def write(path: Path, lshma: LSHMA, options: dict[str, Any], video_threshold: float | None) -> None:
    """Write a model, as these options test it, as an ONNX file. Raises ValueError or OSError."""
    how = {"key_clips": options["keyclip_test"], "scales": model.scales_of(Namespace(**options))}
    memory = lshma.empty_memory(N_STREAMS)
    fields = dict(zip(field_names(IN, memory), (field.clone() for field in to_fields(memory)), strict=True))
    inputs = {"clips": torch.zeros(N_STREAMS, *lshma.position.shape), "reset": torch.zeros(N_STREAMS, 1, dtype=torch.bool)}
    outputs = ["logits", "exit_layer", "key", *field_names(OUT, memory)]
    graph = onnx_file.trace(Graph(lshma, **how), inputs | fields, outputs, "streams")
    told = [
        {"input": name, "output": out, "shape": [-1, *field.shape[1:]], "type": str(field.dtype)[6:], "initial": 0}
        for (name, field), out in zip(fields.items(), field_names(OUT, memory), strict=True)
    ]
    onnx_file.write(path, graph, {"options": options, "video_threshold": video_threshold, "memory": told})


class Exported(nn.Module):
    """The model of an ONNX file. Raises as `onnx_file.read`."""

    def __init__(self, path: str | Path):
        super().__init__()
        self.path, self.file = str(path), str(Path(path).absolute())  # as it is named; and wherever the program goes
        self.session, told = onnx_file.read(path)
        if "memory" not in told:
            raise ValueError(f"{path}: an image encoder's; give a model that export.py wrote")
        self.options, self.video_threshold = ADDED | told["options"], told["video_threshold"]
        self.fields = [(field["shape"][1:], getattr(torch, field["type"])) for field in told["memory"]]
        with torch.device("meta"):  # no weights: what the memory is made of
            self.like = model.build(Namespace(**self.options)).empty_memory(1)
        self.inputs = ["clips", "reset", *field_names(IN, self.like)]
        self.register_buffer("home", torch.empty(0, device="cpu"), persistent=False)  # where tensors are

    def __reduce__(self) -> tuple:
        """Copied as its file's place."""
        return Exported, (self.file,)

    def require(self, options: Namespace) -> None:
        """Raise ValueError where options ask for another model, or to test it in another way, than is in the file."""
        for name in FIXED:
            here, there = getattr(options, name), self.options[name]
            if here != there:
                what = f"{self.path}: exported with {flag_of(name)[2:]} {there}, but here it is {here}"
                raise ValueError(f"{what}; export the checkpoint again as you want it, or give the checkpoint itself")

    def empty_memory(self, n_streams: int) -> StreamMemory:
        """As `LSHMA.empty_memory`."""
        fields = [torch.zeros(n_streams, *shape, dtype=dtype, device=self.home.device) for shape, dtype in self.fields]
        return to_memory(fields, self.like)

    def step(
        self, clips: Tensor, memory: StreamMemory, *, key_clips: bool, scales: Fuse | Select
    ) -> tuple[Output, StreamMemory]:
        """As `LSHMA.step`; how is in the file, and `require` has found the two alike."""
        reset = torch.zeros(len(clips), 1, dtype=torch.bool, device="cpu")
        found = self.run([clips, reset, *to_fields(memory)])
        logits, exit_layer, key, *fields = (torch.from_numpy(value).to(clips.device) for value in found)
        return Output(logits, exit_layer.squeeze(1), key.squeeze(1)), to_memory(fields, self.like)

    def run(self, values: Sequence[Tensor]) -> Sequence:
        """The arrays that the graph makes of its inputs."""
        return self.session.run(None, dict(zip(self.inputs, (value.cpu().numpy() for value in values), strict=True)))

    def forward(self, clips: Tensor, starts: Tensor, *, key_clips: bool, scales: Fuse | Select) -> Output:
        """As `LSHMA.forward`, the videos stepped side by side."""
        ends, rows, outs = torch.cat((starts[1:], starts.new_tensor([len(clips)]))), [], []
        memory = self.empty_memory(len(starts))
        for t in range(int((ends - starts).max())):
            going = (starts + t < ends).nonzero().squeeze(1)  # the videos that have a clip left
            rows.append(starts[going] + t)
            out, now = self.step(clips[rows[-1]], memory.take(going), key_clips=key_clips, scales=scales)
            memory = memory.put(going, now)
            outs.append((out.logits, out.exit_layer, out.key))
        order = torch.cat(rows).argsort()
        return Output(*(torch.cat(of)[order] for of in zip(*outs, strict=True)))
