"""The scores of videos that nobody has labelled, by a checkpoint.

    python predict.py FEATURES --model-path CHECKPOINT

FEATURES are .npy files, folders of them, or lists, with labels or without. Writes for each video a CSV file of its snippets and a
picture, and scores.npz of all; prints each video's highest moments.
"""

import csv
import io
from argparse import Namespace
from pathlib import Path

import numpy as np

import smoothing
import testing
from evaluation import figures, scores
from evaluation.page import clock
from evaluation.scores import Scores
from files import atomic, folder
from files.features import FRAMES_PER_SNIPPET
from files.interrupt import SIGNALS
from files.progress import bar
from files.sources import rows_of
from files.videos import Video, check_videos, require_distinct
from option import FLAGS, Parser, add_flags, check, exit_codes
from running.loading import choose_device, load_model

N_MOMENTS = 3
ASKED = [flag for group in ("testing", "live", "data", "running") for flag in FLAGS[group] if flag.name in {
    *("keyclip_test", "scales", "exit_threshold", "crops", "smooth", "smooth_width", "smooth_pad", "precision", "fps"),
    *("feature_root", "zero_non_finite", "model_path", "out_dir", "device", "workers"),
}]  # fmt: skip

parser = Parser("The scores of videos that nobody has labelled. None = as the checkpoint says, or as usual.")
parser.add_argument("sources", nargs="+", metavar="FEATURES", help=".npy files, folders of them, or lists: CSV files with the "
                    "header path, path,frames, path,label or path,label,frames")  # fmt: skip
add_flags(parser.add_argument, [flag._replace(default=None) for flag in ASKED])
figures.add_format(parser.add_argument)


def main() -> None:
    args = parser.parse_args()
    with exit_codes():
        predict(args)


def options_of(args: Namespace) -> tuple:
    """The model, and the options to run it with: the checkpoint's for the model and its tests, those given, the usual ones."""
    if args.model_path is None:
        raise ValueError("--model-path is missing: give a checkpoint of ours (runs/.../best.pt) or the authors'")
    lshma, options, _ = load_model(args.model_path)
    told = {flag.name: value for flag in ASKED if (value := getattr(args, flag.name)) is not None}
    usual = {flag.name: flag.default for group in ("data", "running") for flag in FLAGS[group]}
    vars(options).update(usual | told | {"data_set": "predict", "given": set(told)})
    check(options)
    return lshma, options


def predict(args: Namespace) -> None:
    """Score the videos of all sources and write what they are. Raises ValueError or OSError before anything is written."""
    lshma, options = options_of(args)
    device = choose_device(options.device)
    folder.require_free(options.out_dir)
    rows, files = rows_of(args.sources, options.feature_root)
    how = {"crops": options.crops, "width": options.visual_width, "zero_non_finite": options.zero_non_finite}
    what = ", ".join(args.sources)
    videos = check_videos(what, rows, files, why=f"{args.model_path} was trained on this width", **how)
    require_distinct(what, videos)
    with SIGNALS, folder.claimed(options) as out_dir:
        prediction = testing.predict(lshma.to(device), videos, options, device)
        scored = scores.from_logits(videos, prediction.logits, vars(options))
        record = scores.Record(scored, prediction.logits, prediction.exit_layer, prediction.key, None)
        cuts = np.cumsum(scored.n_snippets)[:-1]
        of_videos = zip(*(np.split(values, cuts) for values in (scored.scores, *record[1:4])), strict=True)
        for video, columns in zip(bar(videos, "writing", len(videos), unit="video"), of_videos, strict=True):
            atomic.write_text(out_dir / f"{video.name}.csv", table_of(video, options.fps, *columns))
            figures.timelines(out_dir / f"{video.name}.{args.format}", [video], columns[0], None, fps=options.fps)
            print(f"{video.name}: {moments(video, columns[0], options)}")
        scores.write_record(out_dir / "scores.npz", record)
    print(f"{len(videos)} videos, {len(scored.scores):,} snippets, {smoothing.name_of(options.smooth, options.smooth_width)}; a "
          f"CSV file and a picture of each, and scores.npz, in {out_dir}")  # fmt: skip


def table_of(video: Video, fps: float, *columns: np.ndarray) -> str:
    """A CSV file of a video's snippets: when they are, in seconds, and their score, logit, layer, and whether their clip is key."""
    edges = np.minimum(FRAMES_PER_SNIPPET * np.arange(video.n_snippets + 1), video.n_frames) / fps
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(("snippet", "start", "end", "score", "logit", "exit_layer", "key"))
    for n, (score, logit, layer, key) in enumerate(zip(*columns, strict=True)):
        lines.writerow((n, f"{edges[n]:.3f}", f"{edges[n + 1]:.3f}", f"{score:.6f}", f"{logit:.5f}", layer, int(key)))
    return text.getvalue()


def moments(video: Video, values: np.ndarray, options: Namespace) -> str:
    """`0.93 at 1:02, 0.71 at 3:15`: the highest scores, none within the width of the smoothing of another."""
    left, found = values.copy(), []
    while len(found) < N_MOMENTS and (left >= 0).any():
        best = int(left.argmax())
        found.append(f"{values[best]:.2f} at {clock(FRAMES_PER_SNIPPET * best / options.fps)}")
        left[max(0, best - options.smooth_width) : best + options.smooth_width + 1] = -1
    return ", ".join(found)


if __name__ == "__main__":
    main()
