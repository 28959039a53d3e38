"""Testing: a model's scores of a list of videos, what they are worth, and the whole of a test.

Shapes: V videos, S snippets (of all videos), F frames, N clips, T snippets per clip.
"""

import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from dataset import PackedVideos, load, real_snippets, test_batches
from evaluation import curves, evaluate, figures, page, scores, scores_file, smoothing, source, tables
from evaluation.scores import Scores, columns_of
from files import atomic, folder, origin
from files.interrupt import SIGNALS
from files.labels import LABELS
from files.progress import bar
from files.truth import read_ground_truth, require_normal
from files.videos import Video, read_videos, require_distinct
from model import LSHMA, scales_of
from option import MODEL, TESTING, flag_of, note_unused, require_used
from running.loading import autocast, choose_device, load_model, ready

FAR_BETTER = 0.02  # unsmoothed, in AUC or AP: then the smoothing averages short events away


class Prediction(NamedTuple):
    """What the model says of a list of videos, one row per real snippet."""

    logits: np.ndarray  # (S,) float32
    exit_layer: np.ndarray  # (S,) int64
    key: np.ndarray  # (S,) bool, whether the snippet's clip is key
    key_exits: np.ndarray  # (layers + 1,) int64, key clips per layer their logits were taken at
    n_clips: int
    seconds: float


class Tested(NamedTuple):
    """A test: what the model says, the scores smoothed in each way (first as the options say), and the headline figures."""

    prediction: Prediction
    columns: dict[str, Scores]
    truth: np.ndarray  # (F,)
    results: dict[str, object]

    @property
    def scores(self) -> Scores:
        return next(iter(self.columns.values()))


def packed(videos: Sequence[Video], options: Namespace, drop: float = 0.0) -> PackedVideos:
    """The videos as a data set, read as the options say."""
    return PackedVideos(
        videos,
        window=options.attn_window,
        width=options.visual_width,
        zero_non_finite=options.zero_non_finite,
        drop=drop,
        seed=options.seed,
    )


@torch.inference_mode()
def predict(lshma: LSHMA, videos: Sequence[Video], options: Namespace, device: torch.device) -> Prediction:
    """Score whole videos, many at once; of one with other crops the logits are those of the mean of all their scores.

    Raises ValueError where logits overflow.
    """
    crops = [crop for video in videos for crop in video.crops]
    began = time.perf_counter()
    logits, exit_layers, keys, key_exits, n_clips = [], [], [], np.zeros(options.visual_layers + 1, np.int64), 0
    batches = test_batches(crops, options.attn_window, device)
    data = load(packed(crops, options, options.drop_snippets), batches, options.workers, device)
    n_snippets = sum(crop.n_snippets for crop in crops)
    lshma = ready(lshma, options, device)
    with bar(None, "testing", n_snippets, unit="snippet") as progress:
        for batch in data:
            with autocast(options, device):
                out = lshma(batch.clips, batch.starts, key_clips=options.keyclip_test, scales=scales_of(options))
            real = real_snippets(batch, options.attn_window)
            of_batch = out.logits.float()[real].cpu().numpy()
            for name, part in zip(batch.names, np.split(of_batch, batch.n_snippets.cumsum(0)[:-1].cpu()), strict=True):
                if not np.isfinite(part).all():
                    raise ValueError(f"logits of {name} are not finite: its features or the weights are out of range")
            logits.append(of_batch)
            exit_layers.append(out.exit_layer.unsqueeze(1).expand_as(out.logits)[real].cpu().numpy())
            keys.append(out.key.unsqueeze(1).expand_as(out.logits)[real].cpu().numpy())
            key_exits += np.bincount(out.exit_layer[out.key].cpu().numpy(), minlength=len(key_exits))
            n_clips += len(out.key)
            progress.update(len(of_batch))
    seconds = time.perf_counter() - began
    per_snippet = (np.concatenate(parts) for parts in (logits, exit_layers, keys))
    return over_crops(videos, Prediction(*per_snippet, key_exits, n_clips, seconds))


def over_crops(videos: Sequence[Video], prediction: Prediction) -> Prediction:
    """A prediction of all crops, those of a video together, as one of the videos; layers and key clips are the first crop's."""
    n_snippets = np.array([video.n_snippets for video in videos])
    n_crops = np.array([len(video.crops) for video in videos])
    if (n_crops == 1).all():
        return prediction
    blocks = np.split(prediction.logits, np.cumsum(n_crops * n_snippets)[:-1])
    logits = [smoothing.over_crops(block.reshape(n, -1)) for block, n in zip(blocks, n_crops, strict=True)]
    first = np.concatenate([np.arange(n * c) < n for n, c in zip(n_snippets, n_crops, strict=True)])
    return prediction._replace(
        logits=np.concatenate(logits).astype(np.float32),
        exit_layer=prediction.exit_layer[first],
        key=prediction.key[first],
    )


def score(lshma: LSHMA, videos: Sequence[Video], truth: np.ndarray, options: Namespace, device: torch.device) -> Tested:
    """Test the model on these videos, truth (F,) in their order."""
    prediction = predict(lshma, videos, options, device)
    columns = columns_of(videos, prediction.logits, vars(options))
    return Tested(prediction, columns, truth, results_of(prediction, columns, truth, options))


def results_of(prediction: Prediction, columns: dict[str, Scores], truth: np.ndarray, options: Namespace) -> dict[str, object]:
    """The headline figures of a test, and how it went."""
    smoothed = next(iter(columns.values()))
    frames = evaluate.frames_of(smoothed, truth)
    areas = {name: curves.areas(column.scores, *frames) for name, column in columns.items()}
    by_video = evaluate.by_video(smoothed, frames[0])
    of_videos = {
        "video_auc": curves.areas(*by_video).auc,
        "video_auc_topk": curves.areas(evaluate.top_k_means(smoothed), *by_video[1:]).auc,
    }
    n_snippets, n_key = len(smoothed.scores), prediction.key_exits.sum()
    return {
        **next(iter(areas.values()))._asdict(),
        "smoothings": {name: {"auc": area.auc, "ap": area.ap} for name, area in areas.items()},
        **{name: None if np.isnan(value) else value for name, value in of_videos.items()},  # NaN is no JSON
        "n_videos": len(smoothed.videos),
        "n_snippets": n_snippets,
        "n_frames": len(truth),
        "n_anomalous_frames": int(truth.sum()),
        "keyclip_share": float(n_key / prediction.n_clips),
        "exit_share": [float(n / n_key) for n in prediction.key_exits[1:]],
        "seconds": prediction.seconds,
        "snippets_per_second": n_snippets / prediction.seconds,
        "variant": options.variant,
    }


def validate(lshma: LSHMA, videos: Sequence[Video], options: Namespace, device: torch.device) -> dict[str, float]:
    """Whole videos' largest scores against their labels: `val_auc`, `val_ap`, and the threshold of the best F1."""
    smoothed = scores.from_logits(videos, predict(lshma, videos, options, device).logits, vars(options))
    counts = evaluate.by_video(smoothed, np.array([video.anomalous for video in videos])[smoothed.video])
    auc, ap, _ = curves.areas(*counts)
    return {"val_auc": auc, "val_ap": ap, "val_threshold": evaluate.best_f1_threshold(*counts)}


def describe(results: dict[str, object], options: Namespace) -> str:
    """The figures that a person wants, in a few lines."""
    exits = ", ".join(f"layer {i}: {share:.1%}" for i, share in enumerate(results["exit_share"], 1))
    stops = f"; clips that stop at {exits}" if options.visual_layers else ""
    return (
        f"{results['n_videos']} videos, {results['n_snippets']:,} snippets, {results['n_frames']:,} frames, "
        f"{results['n_anomalous_frames']:,} of them anomalous; variant {results['variant']}\n"
        f"key clips {results['keyclip_share']:.1%}{stops}\n"
        f"{results['seconds']:.1f} s, {results['snippets_per_second']:,.0f} snippets/s"
    )


def figures_of(results: dict[str, object]) -> str:
    """The headline metrics in percent, named: as smoothed, and beside them as smoothed in the other ways."""
    auc, ap, trapezoid = (100 * results[name] for name in ("auc", "ap", "ap_trapezoid"))
    first, *others = results["smoothings"].items()
    beside = "".join(f"; {name}: AUC {100 * of['auc']:.2f}, AP {100 * of['ap']:.2f}" for name, of in others)
    return f"{first[0]}: AUC {auc:.2f}, AP {ap:.2f} (step-wise), {trapezoid:.2f} (trapezoidal){beside}"


def warn_of_smoothing(results: dict[str, object]) -> None:
    """Say so where the scores are far better unsmoothed."""
    (name, smoothed), *_ = results["smoothings"].items()
    plain = results["smoothings"]["unsmoothed"]
    if any(plain[metric] > smoothed[metric] + FAR_BETTER for metric in ("auc", "ap")):
        what = ", ".join(f"{metric.upper()} {100 * smoothed[metric]:.2f} and {100 * plain[metric]:.2f}" for metric in smoothed)
        print(f"warning: {name} averages short events away ({what} unsmoothed); see --smooth, --smooth-width", file=sys.stderr)


def note_differences(options: Namespace, trained: dict | None) -> None:
    """Say where a test is not what its checkpoint was trained and evaluated with."""
    trained = trained or {}
    labels = ["normal_label"] if options.data_set == trained.get("data_set") == "own" else []
    for name in (*MODEL, *TESTING, *evaluate.Terms._fields, "data_set", *labels):
        here, there = getattr(options, name), trained.get(name, getattr(options, name))
        if here != there and (name, here, there) != ("data_set", "longterm", "ucf"):  # what longterm_test.py is for
            print(f"note: {flag_of(name)[2:]} is {here} here, and was {there} in the training")


def videos_of(path: str, options: Namespace, crops: str, why: str = "--visual-width says the width") -> list[Video]:
    """The videos of a list, every feature file found, read and checked; `crops` count as `read_videos` is told, and `why` says
    who sets the features' width.
    """
    how = {"width": options.visual_width, "zero_non_finite": options.zero_non_finite, "hold_last": options.hold_last}
    how |= {"normal_label": options.normal_label, "crops": crops}
    return read_videos(path, options.feature_root, options.data_set, why=why, **how)


def require_known_features(options: Namespace, videos: Sequence[Video], trained: dict | None) -> None:
    """Raise ValueError, unless --allow-other-features, where a model's training had features made in another way."""
    how = {"checkpoint": options.model_path, "what": "the features", "allowed": options.allow_other_features}
    origin.require_alike((trained or {}).get("features"), origin.origin_of(video.path for video in videos), **how)


def read_test_set(options: Namespace, **why: str) -> tuple[list[Video], np.ndarray]:
    """The videos of --test-list and the (F,) ground truth of --gt-path, checked against each other."""
    videos = videos_of(options.test_list, options, options.crops, **why)
    require_distinct(options.test_list, videos)
    truth = read_ground_truth(options.gt_path, videos, options.test_list)
    if LABELS[options.data_set].classes is None:  # any label but one is a class
        require_normal(truth, videos, options.test_list)
    return videos, truth


def test(options: Namespace) -> None:
    """Score the videos of --test-list with the checkpoint of --model-path; write and print the results."""
    require_used(options, training=False)
    with folder.reserved(options, spared=folder.OF_TRAININGS) as replaced:
        test_into(options, replaced)


def test_into(options: Namespace, replaced: bool) -> None:
    """`test` into --out-dir, in place of an earlier test's results if these are to be `replaced`, at the end."""
    device = choose_device(options.device)
    if not replaced:
        folder.require_free(options.out_dir, spared=folder.OF_TRAININGS)
    lshma, options, loaded = load_model(options.model_path, options)
    note_differences(options, loaded.options)
    note_unused(options)
    videos, truth = read_test_set(options, why=f"{options.model_path} was trained on this width")
    require_known_features(options, videos, loaded.options)
    if options.out_dir:
        out_dir = Path(options.out_dir)
        outputs = [out_dir / name for name in ("results.json", "scores.npz", "timelines.png")]
        outputs += page.files_in(out_dir) if options.report else []
        (folder.require_writable if replaced else folder.require_new)(outputs)
    with SIGNALS, folder.claimed(options, replaced) as out_dir:
        tested = score(lshma, videos, truth, options, device)
        terms = evaluate.Terms(options.fps, options.false_alarms)
        evaluations = evaluate.evaluate_all(tested.columns, truth, terms, evaluate.Thresholds(videos=loaded.video_threshold))
        results = tested.results | {"evaluations": evaluations, "checkpoint": options.model_path}
        write_scores(out_dir / "scores.npz", tested)
        atomic.write_text(out_dir / "results.json", folder.to_json(results))
        figures.timelines(out_dir / "timelines.png", videos, tested.scores.scores, truth)
    out_dir = Path(options.out_dir)
    print(describe(results, options))
    print(tables.text(evaluations))
    warn_of_smoothing(results)
    print(f"results, scores and timelines in {out_dir}")
    if options.report:
        print(f"report in {page.write_report(out_dir, source.read_run(out_dir), evaluations)}")


def write_scores(path: Path, tested: Tested) -> None:
    """Write `scores.npz`: the scores, and for the report logits, exit layers, key clips and ground truth."""
    prediction = tested.prediction
    scores_file.write_record(
        path, scores.Record(tested.scores, prediction.logits, prediction.exit_layer, prediction.key, tested.truth)
    )
