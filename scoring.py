"""Scoring a list of videos: what the model says of each snippet, and the figures of that.

Shapes: V videos, S snippets (of all videos), F frames, N clips, T snippets per clip.
"""

import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

import metrics
from dataset import PackedVideos, load, real_snippets, test_batches
from evaluation import curves
from evaluation.scores import Scores, from_logits
from files import atomic
from files.videos import Video
from model import LSHMA


class Prediction(NamedTuple):
    """What the model says of a list of videos, one row per real snippet."""

    logits: np.ndarray  # (S,) float32
    exit_layer: np.ndarray  # (S,) int64
    key: np.ndarray  # (S,) bool, whether the snippet's clip is key
    key_exits: np.ndarray  # (layers + 1,) int64, key clips per layer their logits were taken at
    n_clips: int
    seconds: float


def autocast(options: Namespace, device: torch.device) -> torch.autocast:
    """The context in which matrix products have the precision of --precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16")


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
def predict(model: LSHMA, videos: Sequence[Video], options: Namespace, device: torch.device) -> Prediction:
    """Score whole videos, many at once. The model's mode is as before afterwards. Raises ValueError where logits overflow."""
    began = time.perf_counter()
    logits, exit_layers, keys, key_exits, n_clips = [], [], [], np.zeros(options.visual_layers + 1, np.int64), 0
    batches = test_batches(videos, options.attn_window, device)
    data = load(packed(videos, options, options.drop_snippets), batches, options.workers, device)
    how = {"key_clips": options.keyclip_test, "exit_threshold": options.exit_threshold if options.scales == "select" else None}
    n_snippets = sum(video.n_snippets for video in videos)
    with evaluating(model), tqdm(total=n_snippets, desc="testing", unit="snippet", leave=False, disable=None) as bar:
        for batch in data:
            with autocast(options, device):
                out = model(batch.clips, batch.starts, **how)
            real = real_snippets(batch, options.attn_window)
            found = out.logits.float()[real].cpu().numpy()
            for name, part in zip(batch.names, np.split(found, batch.n_snippets.cumsum(0)[:-1].cpu()), strict=True):
                if not np.isfinite(part).all():
                    raise ValueError(f"logits of {name} are not finite: its features or the weights are out of range")
            logits.append(found)
            exit_layers.append(out.exit_layer.unsqueeze(1).expand_as(out.logits)[real].cpu().numpy())
            keys.append(out.key.unsqueeze(1).expand_as(out.logits)[real].cpu().numpy())
            key_exits += np.bincount(out.exit_layer[out.key].cpu().numpy(), minlength=len(key_exits))
            n_clips += len(out.key)
            bar.update(len(found))
    seconds = time.perf_counter() - began
    per_snippet = (np.concatenate(parts) for parts in (logits, exit_layers, keys))
    return Prediction(*per_snippet, key_exits, n_clips, seconds)


@contextmanager
def evaluating(model: LSHMA) -> Iterator[None]:
    """The model in evaluation mode; afterwards in the mode it was found in."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def results_of(prediction: Prediction, found: Scores, truth: np.ndarray, options: Namespace) -> dict[str, object]:
    """The headline figures of a test, and how it went."""
    n_snippets, n_key = len(found.scores), prediction.key_exits.sum()
    frames = metrics.frames_of(found, truth)
    by_video = metrics.by_video(found, frames[0])
    of_videos = {
        "video_auc": curves.areas(*by_video).auc,
        "video_auc_topk": curves.areas(metrics.top_k_means(found), *by_video[1:]).auc,
    }
    return {
        **curves.areas(found.scores, *frames)._asdict(),
        **{name: None if np.isnan(value) else value for name, value in of_videos.items()},  # NaN is no JSON
        "n_videos": len(found.videos),
        "n_snippets": n_snippets,
        "n_frames": len(truth),
        "n_anomalous_frames": int(truth.sum()),
        "keyclip_share": float(n_key / prediction.n_clips),
        "exit_share": [float(n / n_key) for n in prediction.key_exits[min(1, options.visual_layers) :]],
        "seconds": prediction.seconds,
        "snippets_per_second": n_snippets / prediction.seconds,
        "variant": options.variant,
    }


class Tested(NamedTuple):
    """A test: what the model says, the smoothed scores, and the headline figures."""

    prediction: Prediction
    found: Scores
    truth: np.ndarray  # (F,)
    results: dict[str, object]


def score(model: LSHMA, videos: Sequence[Video], truth: np.ndarray, options: Namespace, device: torch.device) -> Tested:
    """Test the model on these videos, truth (F,) in their order."""
    prediction = predict(model, videos, options, device)
    found = from_logits(videos, prediction.logits, vars(options))
    return Tested(prediction, found, truth, results_of(prediction, found, truth, options))


def validate(model: LSHMA, videos: Sequence[Video], options: Namespace, device: torch.device) -> dict[str, float]:
    """Whole videos' largest scores against their labels: `val_auc`, `val_ap`, and the threshold of the best F1."""
    found = from_logits(videos, predict(model, videos, options, device).logits, vars(options))
    counts = metrics.by_video(found, np.array([video.anomalous for video in videos])[found.video])
    auc, ap, _ = curves.areas(*counts)
    return {"val_auc": auc, "val_ap": ap, "val_threshold": metrics.best_f1_threshold(*counts)}


def write_scores(path: Path, tested: Tested) -> None:
    """`scores.npz`, as `scores.read_scores` reads it, and for the report: logits, exit layers, key clips and ground truth."""
    prediction, found = tested.prediction, tested.found
    with atomic.replacing(path) as file:
        np.savez_compressed(
            file,
            video=np.array([video.name for video in found.videos]),
            label=np.array([video.label for video in found.videos]),
            n_snippets=found.n_snippets,
            n_frames=found.n_frames,
            scores=found.scores,
            seen=found.seen,
            look_ahead=found.look_ahead,
            logits=prediction.logits,
            exit_layer=prediction.exit_layer,
            key=prediction.key,
            truth=tested.truth,
        )


def describe(results: dict[str, object], options: Namespace) -> str:
    """The figures that a person wants, in a few lines."""
    exits = ", ".join(f"layer {i}: {share:.1%}" for i, share in enumerate(results["exit_share"], min(1, options.visual_layers)))
    return (
        f"{results['n_videos']} videos, {results['n_snippets']:,} snippets, {results['n_frames']:,} frames, "
        f"{results['n_anomalous_frames']:,} of them anomalous; variant {results['variant']}\n"
        f"key clips {results['keyclip_share']:.1%}; clips that stop at {exits}\n"
        f"{results['seconds']:.1f} s, {results['snippets_per_second']:,.0f} snippets/s"
    )


def figures_of(results: dict[str, object]) -> str:
    """The headline metrics in percent, named."""
    auc, ap, trapezoid = (100 * results[name] for name in ("auc", "ap", "ap_trapezoid"))
    return f"AUC {auc:.2f}, AP {ap:.2f} (step-wise), {trapezoid:.2f} (trapezoidal)"


def summary_of(results: dict) -> str:
    """The figures of an evaluation in a line; those of the test set, and what was selected by if that is another."""
    validation = (
        f", validation AUC {100 * results['val_auc']:.2f}, AP {100 * results['val_ap']:.2f}" if "val_auc" in results else ""
    )
    return f"loss {results['loss']:.4f}, test {figures_of(results)}{validation}"
