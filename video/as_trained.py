"""Features as a model's training had them: made of videos that are to be scored at once, in a folder that is kept."""

import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from files import origin
from files.lists import Row
from option import require
from running.loading import choose_device
from video import extraction, feature_folder
from video.encoders import Encoder, load_encoder
from video.finding import Found, find
from video.flags import HOW, RATE

PICTURES = 64  # encoded at a time


class Extracted(NamedTuple):
    """A row and a feature file of each video that gave features, and a line of each that did not."""

    rows: list[Row]
    files: list[Path]
    failed: list[str]


def fill_in(args: Namespace, trained: Mapping) -> None:
    """Set the flags of how features are made that are None: to those of the training's features, or else the usual ones.

    Raises ValueError where one cannot be.
    """
    require(args, HOW)
    if args.rule not in (None, "mean") and args.frames_per_snippet is not None:
        raise ValueError(f"--frames-per-snippet counts with --rule mean alone; {args.rule} looks at one frame")
    for flag in HOW:
        if getattr(args, flag.name) is None:
            setattr(args, flag.name, trained.get(flag.name, flag.default) if flag.name != "weights" else None)
    try:
        require(args, HOW)
    except ValueError as error:
        raise ValueError(f"{args.model_path}, of its training's features: {error}; pass that flag") from None


def encoder_for(args: Namespace, device: str, width: int) -> Encoder:
    """The encoder of the flags. Raises ValueError where a model that takes `width` cannot take its vectors."""
    encoder = load_encoder(args.encoder, args.weights, choose_device(device))
    if encoder.width != width:
        what = f"{encoder.name} makes vectors of {encoder.width}, {args.model_path} takes {width}"
        raise ValueError(f"{what}; choose another --encoder, or a model trained on its features")
    return encoder


def extract(
    sources: Sequence[str],
    args: Namespace,
    options: Namespace,
    trained: Mapping | None,
    check: Callable[[Sequence[Found]], None],
) -> Extracted:
    """Extract the videos of these sources into `features` in --out-dir, which has a name when this returns.

    `args` are the flags of how features are made, `options` those that the model runs with, `trained` how its training's
    features were made. `check` raises where the videos that are found cannot be used. Raises ValueError where a model of others
    is not allowed them; OSError.
    """
    fill_in(args, trained or {})
    if not options.out_dir:
        options.out_dir = f"runs/predict-{time.strftime('%Y%m%d-%H%M%S')}"
    out = Path(options.out_dir, "features")
    videos = find(sources, out)
    check(videos)
    encoder = encoder_for(args, options.device, options.visual_width)
    usual = {"by": "frames", "fps": RATE, "crops": 1}
    told = {name: value for name in usual if (value := (trained or {}).get(name))}
    how = Namespace(**vars(args) | usual | told | {"strict": False, "batch_size": PICTURES, "workers": max(1, options.workers)})
    how.crops = how.crops if options.crops == "mean" else 1
    made = feature_folder.origin_of(how, encoder)
    what = {"checkpoint": options.model_path, "what": "features of these videos"}
    origin.require_alike(trained, made, **what, allowed=options.allow_other_features)
    into = feature_folder.Folder(out, made, "--out-dir")
    with into.held():
        failed = extraction.extract(videos, into, encoder, how)
    done = [video for video in videos if into.has(video)]
    rows, files = [], []
    for video in done:
        _, frames, *_ = into.rows[video.name]
        files.append(into.files(video)[0])
        rows.append(Row(str(video.path), str(files[-1]), n_frames=int(frames)))
    return Extracted(rows, files, failed)
