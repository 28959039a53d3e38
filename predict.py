"""The scores of videos that nobody has labelled, by a checkpoint.

    python predict.py FEATURES_OR_VIDEOS --model-path CHECKPOINT

FEATURES are .npy files, folders of them, or lists, with labels or without. VIDEOS, and folders of them, are extracted first, as
the features of the model's training were, into features/ in --out-dir; this needs requirements-video.txt. Writes for each
video a CSV file of its snippets and a picture, into videos/ in --out-dir, and scores.npz of all; prints each video's highest
moments.
"""

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation import figures, scores, scores_file, smoothing, tables
from evaluation.figures import clock
from files import folder, origin
from files.features import FRAMES_PER_SNIPPET
from files.interrupt import SIGNALS
from files.lists import Row, few
from files.progress import bar
from files.sources import rows_of
from files.videos import Video, check_videos, require_distinct
from model import LSHMA
from option import BY_NAME, FIGURE_FORMAT, FLAGS, MODEL_PATH, Parser, add_flags, check, flag_of, note_unused, unset
from running import testing
from running.command import exit_codes
from running.loading import choose_device, load_model, require_runnable
from video import as_trained, extraction
from video.finding import LONGEST, Found, split
from video.flags import HOW

N_MOMENTS = 3
ASKED = [MODEL_PATH, *(BY_NAME[name] for name in (
    *("keyclip_test", "scales", "exit_threshold", "crops", "smooth", "smooth_width", "smooth_pad", "precision", "fps"),
    *("feature_root", "zero_non_finite", "hold_last", "allow_other_features", "out_dir", "overwrite"),
    *("device", "workers"),
))]  # fmt: skip

parser = Parser("The scores of videos that nobody has labelled. None = as the checkpoint says, or other scripts' default.")
parser.add_argument("sources", nargs="+", metavar="FEATURES_OR_VIDEOS", help=".npy files, videos, folders of them, or lists: "
                    "CSV files with the header path, path,frames, path,label or path,label,frames")  # fmt: skip
add_flags(parser.add_argument, [*unset((*ASKED, *HOW)), FIGURE_FORMAT])


def main() -> None:
    args = parser.parse_args()
    with exit_codes():
        predict(args)


def options_of(args: Namespace) -> tuple:
    """The model; the options to run it with, the checkpoint's, those given, and the usual ones; its training's, if it says."""
    lshma, options, loaded = load_model(args.model_path)
    told = {flag.name: value for flag in ASKED if (value := getattr(args, flag.name)) is not None}
    usual = {flag.name: flag.default for group in ("data", "running") for flag in FLAGS[group]}
    usual["normal_label"] = getattr(options, "normal_label", None)  # the checkpoint's: its lists are read as its training's
    vars(options).update(usual | told | {"data_set": "predict", "given": set(told), "drop_snippets": 0.0})
    check(options)
    note_unused(options)
    require_runnable(lshma, options)
    return lshma, options, loaded.options


def predict(args: Namespace) -> None:
    """Score the videos of all sources and write what they are.

    Raises ValueError or OSError before anything is written, but for the features of videos, which an extraction goes on with.
    """
    lshma, options, trained = options_of(args)
    with folder.reserved(options, spared=folder.OF_TRAININGS) as replaced:
        if not replaced:
            folder.require_free(options.out_dir, spared=folder.OF_TRAININGS)
        predict_into(lshma, args, options, trained, replaced)


def predict_into(lshma: LSHMA, args: Namespace, options: Namespace, trained: dict | None, replaced: bool) -> None:
    """`predict` into --out-dir, in place of an earlier run's results if these are to be `replaced`, at the end."""
    device, features = choose_device(options.device), (trained or {}).get("features")
    sources, others = split(args.sources)
    asked = [flag_of(flag.name) for flag in HOW if getattr(args, flag.name) is not None]
    if asked and not sources:
        raise ValueError(f"{', '.join(asked)}: of videos alone, and {', '.join(args.sources)} has none; leave it out")
    videos = read(args, options, *rows_of(others, options.feature_root, options.normal_label)) if others else []
    testing.require_known_features(options, videos, trained)
    extracted = None

    def require_names(found: Sequence[Found] = ()) -> None:
        require_distinct(", ".join(args.sources), [*videos, *found])
        require_files([*videos, *found], options.out_dir, f".{args.format}")

    if not sources:
        require_names()
    else:
        extracted = as_trained.extract(sources, args, options, features, require_names)
        if not (extracted.rows or videos):
            raise ValueError(extraction.failures(extracted.failed, len(extracted.failed)))
        videos += read(args, options, extracted.rows, extracted.files) if extracted.rows else []
    fps = rates_of(videos, options)
    with SIGNALS, folder.claimed(options, replaced) as out_dir:
        prediction = testing.predict(lshma, videos, options, device)
        scored = scores.from_logits(videos, prediction.logits, vars(options))
        record = scores.Record(scored, prediction.logits, prediction.exit_layer, prediction.key, None)
        by_video = tables.of_snippets(scored, None, fps, record).groupby("video", sort=False)
        of_each = out_dir / "videos"
        of_each.mkdir(exist_ok=True)
        for video, (name, rows), rate in zip(bar(videos, "writing", len(videos), unit="video"), by_video, fps, strict=True):
            tables.write_csv(of_each / f"{name}.csv", rows.drop(columns="video"))
            values = rows["score"].to_numpy()
            figures.timelines(of_each / f"{name}.{args.format}", [video], values, None, fps=rate, width=figures.WIDTH)
            print(f"{name}: {moments(values, rate, options.smooth_width)}")
        scores_file.write_record(out_dir / "scores.npz", record)
    smoothed = smoothing.name_of(options.smooth, options.smooth_width)
    print(f"{len(videos)} videos, {len(scored.scores):,} snippets, {smoothed}")
    out_dir = Path(options.out_dir)
    print(f"a CSV file and a picture of each in {out_dir / 'videos'}; scores.npz of all in {out_dir}")
    if extracted and extracted.failed:
        raise ValueError(extraction.failures(extracted.failed, len(extracted.failed) + len(extracted.rows)))


def read(args: Namespace, options: Namespace, rows: Sequence[Row], files: Sequence[Path]) -> list[Video]:
    """The videos of these rows, their feature files read and checked. Raises ValueError."""
    how = {"crops": options.crops, "width": options.visual_width}
    how |= {"zero_non_finite": options.zero_non_finite, "hold_last": options.hold_last}
    what = ", ".join(args.sources)
    return check_videos(what, rows, files, why=f"{args.model_path} was trained on this width", **how)


def rates_of(videos: Sequence[Video], options: Namespace) -> np.ndarray:
    """Frames a second of each video, (V,): as --fps says, or extract.py; else the checkpoint's, which is said.

    The options have it where all are alike, as the report of what is predicted takes it, else None. Raises as origin.rates_of.
    """
    if "fps" in options.given:
        return np.full(len(videos), options.fps)
    known = origin.rates_of([video.path for video in videos])
    if unknown := [video.name for video in videos if video.path not in known]:
        print(f"note: nothing says the frame rate of {few(unknown)}; times are at {options.fps:g} frames/s, or what --fps says")
    rates = np.array([known.get(video.path, options.fps) for video in videos])
    options.fps = float(rates[0]) if len(set(rates)) == 1 else None
    return rates


def require_files(videos: Sequence[Video | Found], out_dir: str | None, picture: str) -> None:
    """Show that each video can have files of its name, and none is there but an earlier run's. Raises ValueError or OSError."""
    for video in videos:
        if not video.name.isprintable() or len(os.fsencode(video.name)) > LONGEST:
            what = f"printable characters in UTF-8, {LONGEST} bytes at most, of which its files can be named"
            raise ValueError(f"{str(video.path)!a}: expected a name of {what}; rename the file")
    names = [f"videos/{video.name}{ending}" for video in videos for ending in (".csv", picture)]
    if out_dir:
        earlier = folder.left_by_run(Path(out_dir))
        folder.require_new([Path(out_dir, name) for name in (*names, "scores.npz")], earlier)


def moments(values: np.ndarray, fps: float, width: int) -> str:
    """`0.93 at 1:02, 0.71 at 3:15`: the highest scores, none within `width` snippets of another."""
    left, found = values.copy(), []
    while len(found) < N_MOMENTS and (left >= 0).any():
        best = int(left.argmax())
        found.append(f"{values[best]:.2f} at {clock(FRAMES_PER_SNIPPET * best / fps)}")
        left[max(0, best - width) : best + width + 1] = -1
    return ", ".join(found)


if __name__ == "__main__":
    main()
