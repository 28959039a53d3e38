"""How fast the whole-video path is, against `step` in a loop and against the machine's own matrix products; how fast live
streams are, against reading the weights once. And how fast onnxruntime steps, against PyTorch.

    python benchmark.py --feature-root FEATURES --train-list list/ucf_CLIP_rgb.csv --precision bf16
    python benchmark.py --model-path model.onnx

Cores must be idle: times are the clock's. The first takes the UCF-Crime options. Times are of the model alone, on the first
videos of the training list, loaded beforehand; live streams stop early nowhere. The second takes a file of export.py, and a
model of its size, both on as many threads as PyTorch has.
"""

import copy
import time
from argparse import Namespace
from collections.abc import Callable, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

import kcg
import model
import option
from files.features import FRAMES_PER_SNIPPET
from outside.exported import Exported
from running import products, testing
from running.beginning import make_optimizer
from running.command import run
from running.loading import autocast, choose_device, load_model, make_trainable, ready
from running.training import loss_of
from ucf_option import parser

N_VIDEOS = 16
REPEATS = 3
MOST_CLIPS = 80_000  # that the KCG is timed on: all of UCF-Crime's would need 20 GB
STEPS = 20  # timed together
LIVE = (1, 16, 256)  # streams at a time


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """The least time of a few runs, after one to warm up."""
    times = []
    for _ in range(1 + REPEATS):
        synchronise(device)
        began = time.perf_counter()
        work()
        synchronise(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def matmul_rate(*, width: int, rows: int, device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of matrix products here at the shape of the model's largest, PyTorch's or, where they are faster, oneDNN's."""
    a, b = torch.randn(rows, width, device=device, dtype=dtype), torch.randn(width, 4 * width, device=device, dtype=dtype)
    out = torch.empty(rows, 4 * width, device=device, dtype=dtype)
    ways = [lambda: torch.mm(a, b, out=out)]
    if device.type == "cpu" and products.packable(dtype == torch.bfloat16):
        packed = products.Packed((b.t().contiguous(), torch.zeros(4 * width, dtype=dtype)))
        ways.append(lambda: [packed.through(part) for part in products.parts(a)])

    def repeated(way: Callable[[], object]) -> None:
        for _ in range(10):
            way()

    with torch.inference_mode():
        return 10 * 2 * a.numel() * b.shape[1] / min(seconds(lambda w=way: repeated(w), device) for way in ways)


def whole(lshma: model.LSHMA, clips: torch.Tensor, starts: torch.Tensor, **how) -> torch.Tensor:
    """The model's logits, whole videos at once: (N, T)."""
    return lshma(clips, starts, **how).logits


def stepped(lshma: model.LSHMA, clips: torch.Tensor, starts: torch.Tensor, **how) -> torch.Tensor:
    """The model's logits clip by clip, each video on its own: (N, T)."""
    logits = []
    for video in clips.tensor_split(starts[1:].cpu()):
        memory = lshma.empty_memory(1)
        for clip in video.split(1):
            out, memory = lshma.step(clip, memory, **how)
            logits.append(out.logits)
    return torch.cat(logits)


@torch.inference_mode()
def seconds_of_a_step(of: torch.nn.Module, n: int, options: Namespace) -> float:
    """What a step of n streams takes, scored as the options say."""
    memory = of.empty_memory(n)
    clips = torch.randn(STEPS, n, options.attn_window, options.visual_width, device=memory.logits.device)
    how = {"key_clips": options.keyclip_test, "scales": model.scales_of(options)}

    def steps() -> None:
        now = memory
        for clip in clips:
            _, now = of.step(clip, now, **how)

    with autocast(options, clips.device):
        return seconds(steps, clips.device) / STEPS


def live(lshma: model.LSHMA, options: Namespace) -> None:
    """Print what a step of some streams takes, against reading the weights once, and how many cameras that is in real time."""
    device, options = lshma.position.device, Namespace(**vars(options) | {"exit_threshold": 1.0, "keyclip_test": False})
    scoring, of_clip = ready(lshma, options, device), options.attn_window * FRAMES_PER_SNIPPET / options.fps
    n_bytes = (2 if options.precision == "bf16" else 4) * sum(parameter.numel() for parameter in lshma.parameters())
    weights = torch.ones(n_bytes // 4, device=device)
    once = 1000 * seconds(lambda: [weights.sum() for _ in range(STEPS)], device) / STEPS
    print(f"reading {n_bytes / 1e6:.0f} MB of weights once: {once:.2f} ms")
    for n in LIVE:
        step = seconds_of_a_step(scoring, n, options)
        print(f"a clip of {n} streams: {1000 * step:.2f} ms; {n * of_clip / step:,.0f} cameras in real time, {n} at a time")


@torch.inference_mode()
def outside_and_inside(path: str, given: Sequence[str]) -> None:
    """Print what a step takes in onnxruntime, of this file, and in PyTorch. Raises ValueError where a flag would be ignored."""
    if ignored := sorted({*given} - {"model_path"}):
        raise ValueError(f"{option.flag_of(ignored[0])} would be ignored with --model-path; leave it out")
    exported, options, _ = load_model(path)
    if not isinstance(exported, Exported):
        raise ValueError(f"{path}: a checkpoint; give a file of export.py, which is timed against PyTorch")
    inside = ready(model.build(options), options, torch.device("cpu"))
    for n in LIVE:
        there, here = (1000 * seconds_of_a_step(of, n, options) for of in (exported, inside))
        print(f"a step of {n} streams: onnxruntime {there:.2f} ms, PyTorch {here:.2f} ms: {here / there:.2f} times as fast")


def main(options: Namespace) -> None:
    if options.model_path:
        return outside_and_inside(options.model_path, options.given)
    option.resolve_variant(options)
    device = choose_device(options.device)
    videos = testing.videos_of(options.train_list, options, "file")
    lshma = model.build(options).to(device)
    data = testing.packed(videos, options)
    rows = range(min(N_VIDEOS, len(videos)))
    batches = [data[rows[i : i + options.batch_size]].to(device) for i in rows[:: options.batch_size]]
    trained = copy.deepcopy(lshma)
    make_trainable(trained, options, device)
    optimizer = make_optimizer(trained, options)

    def train(forward: Callable, of: model.LSHMA) -> None:
        for batch in batches:
            with autocast(options, device):
                logits = forward(of, batch.clips, batch.starts, key_clips=options.keyclip_train, scales=model.FUSE)
            optimizer.zero_grad()
            loss_of([logits], batch).mean().backward()
            optimizer.step()

    @torch.inference_mode()
    def test(forward: Callable, of: model.LSHMA) -> None:
        for batch in batches:
            with autocast(options, device):
                forward(of, batch.clips, batch.starts, key_clips=options.keyclip_test, scales=model.scales_of(options))

    n_rows = sum(len(b.clips) for b in batches) // len(batches) * options.attn_window
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    rate = matmul_rate(width=options.visual_width, rows=n_rows, device=device, dtype=dtype)
    print(f"matrix products: {rate / 1e9:.0f} GFLOP/s; batches of {options.batch_size} videos, {len(rows)} videos")
    for name, work, of in (("training", train, trained), ("testing", test, ready(lshma, options, device))):
        with FlopCounterMode(display=False) as counter:
            work(whole, lshma)  # of oneDNN's products it would count nothing
        fast, slow = (seconds(lambda w=work, of=of, f=f: w(f, of), device) for f in (whole, stepped))
        share = counter.get_total_flops() / fast / rate
        print(f"{name}: whole videos {fast:.2f} s, clip by clip {slow:.2f} s: {slow / fast:.1f} times; {share:.0%} of the rate")
    n_clips = torch.tensor([-(-video.n_snippets // options.attn_window) for video in videos]).cumsum(0)  # up to each one's end
    clips, starts, *_ = data[range(int((n_clips <= MOST_CLIPS).sum()))].to(device)
    kcg_seconds = seconds(lambda: kcg.select(clips, starts), device)
    share = kcg.select(clips, starts).float().mean()
    print(f"KCG over {len(starts)} videos, {len(clips):,} clips: {kcg_seconds:.2f} s, {share:.0%} key")
    live(lshma, options)


if __name__ == "__main__":
    parser.description = "How fast the whole-video path is."
    run(main, parser)
