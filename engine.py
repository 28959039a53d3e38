"""What all scripts run on: options to a device, a model and data; and the whole of a test.

A script is `engine.run(work, parser)`: `work` gets the options; what the user gave wrongly ends as one message and exit code 2.
"""

import json
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

import metrics
import report
import scoring
from evaluation import figures, scores, tables
from files import atomic, checkpoint
from files.videos import Video, read_ground_truth, read_videos, require_distinct
from model import LSHMA
from option import MODEL, TESTING, Parser, adopt, exit_codes, parse, resolve_variant


def run(work: Callable[[Namespace], None], parser: Parser, arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and do the work. Exits with 2 on bad input, 130 where the user stopped it."""
    options = parse(parser, arguments)
    with exit_codes():
        work(options)


def choose_device(name: str) -> torch.device:
    """The device of --device. Raises ValueError where there is none of that name."""
    kind, _, number = name.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ValueError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"--device {name}: PyTorch sees {torch.cuda.device_count()} CUDA devices here; use --device cpu or auto"
        )
    torch.backends.cudnn.allow_tf32 = False  # cuDNN would round the compressions' inputs; --precision says what is rounded
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def out_dir_of(options: Namespace) -> Path:
    """The folder for results."""
    return Path(options.out_dir or f"runs/{options.data_set}-{time.strftime('%Y%m%d-%H%M%S')}")


def require_writable(paths: Sequence[Path]) -> None:
    """Make the folders of these files and show that the files can be written. Raises OSError that names the first that not."""
    for path in paths:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path.parent):
                pass
        except OSError as error:
            raise OSError(f"{path.parent} cannot be written ({error.strerror}); choose another --out-dir") from error
        if path.is_dir():
            raise OSError(f"{path} is a folder, and a file is to be written there; choose another --out-dir")


def to_json(content: object) -> str:
    """Indented JSON of plain values; sets become sorted lists."""
    return json.dumps(content, indent=2, default=sorted) + "\n"


def build_model(options: Namespace) -> LSHMA:
    """The model that the options describe, with fresh weights."""
    return LSHMA(
        width=options.visual_width,
        layers=options.visual_layers,
        window=options.attn_window,
        cache_keep_max_len=options.cache_keep_max_len,
        p=options.p,
        forgetting=options.forgetting,
        attn_merge=options.attn_merge,
        drop_rate=options.drop_rate,
        drop_attn_rate=options.drop_attn_rate,
        drop_qkv_rate=options.drop_qkv_rate,
    )


def videos_of(path: str, options: Namespace) -> list[Video]:
    """The videos of a list, every feature file found, read and checked."""
    width, zero = options.visual_width, options.zero_non_finite
    return read_videos(path, options.feature_root, options.data_set, width=width, zero_non_finite=zero)


def read_test_set(options: Namespace) -> tuple[list[Video], np.ndarray]:
    """The videos of --test-list and the (F,) ground truth of --gt-path, checked against each other."""
    videos = videos_of(options.test_list, options)
    require_distinct(options.test_list, videos)
    return videos, read_ground_truth(options.gt_path, videos, options.test_list)


def note_differences(options: Namespace, trained: dict) -> None:
    """Say where a test is not what its checkpoint was trained and evaluated with."""
    for name in (*MODEL, *TESTING, *(["data_set"] if options.data_set != "longterm" else [])):
        value = trained.get(name, getattr(options, name))
        if value != getattr(options, name):
            print(f"note: {name.replace('_', '-')} is {getattr(options, name)} here, and was {value} in the training")


def test(options: Namespace) -> None:
    """Score the videos of --test-list with the checkpoint of --model-path; write and print the results."""
    device = choose_device(options.device)
    if options.model_path is None:
        raise ValueError("--model-path is missing: give a checkpoint of ours (runs/.../best.pt) or the authors'")
    content = checkpoint.load(options.model_path)
    weights, trained = checkpoint.weights_of(content, options.model_path)
    adopt(options, trained, MODEL, options.model_path)
    resolve_variant(options)
    model = build_model(options)
    checkpoint.load_weights(model, weights, options, options.model_path)
    note_differences(options, trained or {})
    videos, truth = read_test_set(options)
    out_dir = out_dir_of(options)
    if (out_dir / "log.jsonl").exists() or (out_dir / "last.pt").exists():
        raise ValueError(f"--out-dir {out_dir} holds a training run, whose results would be replaced; choose another folder")
    require_writable([out_dir / name for name in ("options.json", "results.json", "scores.npz", "timelines.png")])

    tested = scoring.score(model.to(device), videos, truth, options, device)
    columns = scores.columns_of(videos, tested.prediction.logits, vars(options))
    terms = metrics.Terms(options.fps, options.false_alarms)
    evaluations = metrics.evaluate_all(columns, truth, terms, metrics.Thresholds(videos=checkpoint.video_threshold(content)))
    results = tested.results | {"evaluations": evaluations, "checkpoint": options.model_path}
    atomic.write_text(out_dir / "options.json", to_json(vars(options)))
    scoring.write_scores(out_dir / "scores.npz", tested)
    atomic.write_text(out_dir / "results.json", to_json(results))
    figures.timelines(out_dir / "timelines.png", videos, tested.found.scores, truth)
    print(scoring.describe(results, options))
    print(tables.text(evaluations))
    print(f"results, scores and timelines in {out_dir}")
    if options.report:
        print(f"report in {report.write(out_dir, evaluations)}")
