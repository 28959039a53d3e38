"""A checkpoint's model, clip by clip, as ONNX: for programs without PyTorch, and for watch.py, predict.py and lshma.load.

    python export.py CHECKPOINT --out model.onnx
    python export.py CHECKPOINT --out model.onnx --encoder clip --weights ViT-B-16.pt

The graph is `LSHMA.step`. In: `clips` (B, T, D) float32, `reset` (B, 1) bool and the memory, `memory_000_...` and on; out:
`logits` (B, T) before the sigmoid and without smoothing, `exit_layer` (B, 1), `key` (B, 1) bool, and the memory to go on with,
`next_000_...` and on. `next_N_NAME` is what the next call takes as `memory_N_NAME`; sorted by name both stand in that order,
by which NVIDIA Triton's sequence batcher pairs states. `reset` empties the memory of the streams it marks before the step (it
is Triton's START); an empty memory is all zeros. KCG and early exit are inside, as the checkpoint's options or the flags say.
The metadata `lshma` is JSON: the options, the training's among them, its threshold, and each state's names, shape and type.
With --encoder the image encoder is written beside it: `pictures` (N, 224, 224, 3) uint8 to `vectors` (N, D).
Needs requirements-export.txt.
"""

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from files import folder
from files.checkpoint import Checkpoint
from model import LSHMA
from option import BY_NAME, FLAGS, Parser, add_flags, check, flag_of, require, unset
from outside import exported, onnx_file
from running.command import exit_codes
from running.loading import load_model
from video import as_trained
from video.encoders import Encoder
from video.flags import HOW
from video.pictures import CROP

N_PICTURES = 2  # a graph is traced with; any number runs
OVERWRITE = BY_NAME["overwrite"]._replace(help="replace the files that are there")
# what the file says of its model: no paths, nor how it was trained
TOLD = (*(flag.name for group in ("model", "testing", "live") for flag in FLAGS[group]), "data_set", "normal_label", "features")
ASKED = unset(BY_NAME[name] for name in ("keyclip_test", "scales", "exit_threshold", "smooth", "smooth_width"))
OF_ENCODER = unset(flag for flag in HOW if flag.name in ("encoder", "weights"))

parser = Parser("A checkpoint's model, clip by clip, as ONNX. None = as the checkpoint says; --encoder: none is written.")
parser.add_argument("model_path", metavar="CHECKPOINT", help="ours (runs/.../best.pt) or the authors'")
parser.add_argument("--out", type=Path, required=True, help="the ONNX file, as model.onnx")
add_flags(parser.add_argument, [*ASKED, *OF_ENCODER, OVERWRITE])


def main() -> None:
    args = parser.parse_args()
    with exit_codes():
        export(args)


def export(args: Namespace) -> None:
    """Write the files. Raises ValueError or OSError before anything is written."""
    require(args, [flag for flag in (*ASKED, *OF_ENCODER) if getattr(args, flag.name) is not None])
    if args.weights and not args.encoder:
        raise ValueError("--weights are an encoder's; name it with --encoder")
    if Path(args.model_path).suffix == ".onnx":
        raise ValueError(f"{args.model_path} is exported already; give the checkpoint that it was made of")
    if args.out.suffix != ".onnx":
        raise ValueError(f"--out {args.out}: expected a name that ends in .onnx, by which it is known as such")
    of_encoder = args.out.with_name(f"{args.out.stem}-{args.encoder}.onnx")
    for path in [args.out, *[of_encoder] * bool(args.encoder)]:
        if path.exists() and not args.overwrite:
            raise ValueError(f"{path} is there already; choose another --out, or replace it with --overwrite")
        folder.require_writable([path], "--out")
    for name in ("onnx", "onnxscript"):
        onnx_file.needed(name)
    lshma, options, loaded = load_model(args.model_path)
    vars(options).update({flag.name: value for flag in ASKED if (value := getattr(args, flag.name)) is not None})
    check(options, ["testing"])
    encoder = as_trained.encoder_for(args, "cpu", options.visual_width) if args.encoder else None
    of_pictures = traced(encoder) if encoder else None  # one that cannot be traced leaves no model behind
    write_model(args.out, lshma, options, loaded)
    if encoder:
        onnx_file.write(of_encoder, of_pictures, {"encoder": encoder.name, "width": encoder.width, "digest": encoder.digest})
        print(f"{of_encoder}: {encoder.name}, vectors of {encoder.width}")


def write_model(path: Path, lshma: LSHMA, options: Namespace, loaded: Checkpoint) -> None:
    """Write the model and say what it does."""
    if options.precision != "fp32":
        print(f"note: {path} computes in fp32, not {options.precision}; scores may differ from its tests'")
    known = (loaded.options or {}) | vars(options) | {"precision": "fp32"}
    told = {name: known[name] for name in TOLD if name in known}
    path.parent.mkdir(parents=True, exist_ok=True)
    exported.write(path, lshma, told, loaded.video_threshold)
    shown = ("visual_width", "visual_layers", "attn_window", "keyclip_test", "scales", "exit_threshold")
    print(f"{path}: {', '.join(f'{flag_of(name)[2:]} {told[name]}' for name in shown)}")


class Pictures(nn.Module):
    """An encoder as a graph: pictures (N, 224, 224, 3) uint8 -> vectors (N, D)."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.encoder.vectors(inputs[0].permute(0, 3, 1, 2).float())  # (N, H, W, 3) -> (N, 3, H, W)


def traced(encoder: Encoder) -> Any:
    """The graph of an image encoder. Raises ValueError where PyTorch can make none of one's own."""
    pictures = torch.zeros(N_PICTURES, CROP, CROP, 3, dtype=torch.uint8)
    try:
        return onnx_file.trace(Pictures(encoder), {"pictures": pictures}, ["vectors"], "pictures")
    except Exception as error:
        why = str(error).strip().partition("\n")[0]
        raise ValueError(f"--encoder {encoder.name}: PyTorch makes no graph of it ({why}); leave --encoder out") from error


if __name__ == "__main__":
    main()
