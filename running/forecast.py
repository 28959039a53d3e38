"""What a training is about to do: with what model, on which videos, and about how long that takes.

Shapes: N clips, T snippets per clip.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from dataset import CLIPS_PER_TEST_BATCH, test_batches, training_batches
from files.videos import Video
from running.record import Run


class Pace(NamedTuple):
    """Measured seconds a clip."""

    training: float
    testing: float


def batches_of(run: Run) -> list[list[int]]:
    """The rows of each batch of the epoch that the run is in."""
    options = run.options
    how = {"batch_size": options.batch_size, "seed": options.seed, "epoch": run.progress.epoch}
    return training_batches(run.data.train, options.data_set, **how)


def passes(every: int, n_batches: int, *, size: int) -> bool:
    """Whether the last of these batches of `size` videos passed a multiple of `every` videos; 0 = never."""
    return every > 0 and n_batches * size // every > (n_batches - 1) * size // every


def clips_of(videos: Sequence[Video], window: int) -> int:
    """How many clips videos have in all, key or not, in all of their crops."""
    return sum(len(video.crops) * -(-video.n_snippets // window) for video in videos)


def nearest(batches: Sequence[list[int]], videos: Sequence[Video], n_clips: float, window: int) -> list[list[int]]:
    """The batches, those with about so many clips first."""
    return sorted(batches, key=lambda rows: abs(clips_of([videos[row] for row in rows], window) - n_clips))


def typical_batches(run: Run) -> list[list[int]]:
    """The batches of an epoch, those of about the mean number of clips first: times of these stand for the times of all."""
    batches, window = batches_of(run), run.options.attn_window
    n_clips = clips_of([run.data.train[row] for rows in batches for row in rows], window)
    return nearest(batches, run.data.train, n_clips / len(batches), window)


def test_sample(run: Run) -> list[Video]:
    """The test videos of one full batch."""
    test, window = run.data.test, run.options.attn_window
    batches = test_batches(test, window, run.device)
    return [test[row] for row in nearest(batches, test, CLIPS_PER_TEST_BATCH[run.device.type], window)[0]]


def describe(run: Run) -> str:
    """What is trained on: how many videos, of which labels, how many of them an epoch takes; and what is trained."""
    rows, data, options = batches_of(run), run.data, run.options
    n_anomalous, n_used = sum(video.anomalous for video in data.train), sum(map(len, rows))
    what, trained = "training videos", f"{len(data.train):,} training videos, {n_anomalous:,} anomalous"
    n_videos = len({video.name for video in data.train})
    if n_videos < len(data.train):
        what = "crops"
        trained = f"{len(data.train):,} crops of {n_videos:,} training videos, {n_anomalous:,} of the crops anomalous"
    n_clips = clips_of([data.train[row] for batch in rows for row in batch], options.attn_window)
    balanced = f", {n_used // 2} of each kind, in turn" if n_used < len(data.train) else ""
    held = f"; {len(data.validation)} held out to validate" if data.validation else ""
    held += f", {data.n_left_out:,} other crops and copies of them left out" if data.n_left_out else ""
    labels = ", ".join(f"{label} {n:,}" for label, n in Counter(video.label for video in data.train).most_common())
    n_weights = sum(parameter.numel() for parameter in run.model.parameters())
    best, last = (size_of(4 * n * n_weights) for n in (1, 4 if run.averaged else 3))  # AdamW keeps two
    remembered = f"{options.cache_keep_max_len - 1} clips remembered" if options.visual_layers else f"{options.head} head"
    if run.model.change is not None:
        remembered += f", motion {options.motion:g}, novelty {options.novelty:g}" + ", channels" * options.channels
    if run.averaged:
        remembered += f", running mean of the weights ({options.weight_average:g})"
    epoch = f"an epoch takes {n_used:,} of the {what}{balanced}, in {len(rows):,} steps, {n_clips:,} clips"
    return (
        f"{trained}{held}; {len(data.test)} test videos\n"
        f"labels: {labels}\n"
        f"model: width {options.visual_width}, {options.visual_layers} layers, clips of {options.attn_window} snippets, "
        f"{remembered}; {n_weights:,} parameters, best.pt {best}, last.pt {last}\n"
        f"{epoch}, on {run.device}"
    )


def size_of(n_bytes: int) -> str:
    """`46.2 MB`, `6 KB`"""
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:,.0f} KB"


def forecast(run: Run, pace: Pace) -> str:
    """About how long the rest of the run takes, at this pace."""
    rows, progress, options = batches_of(run), run.progress, run.options
    clips = [clips_of([run.data.train[row] for row in batch], options.attn_window) for batch in rows]
    due = [n == len(rows) or passes(options.eval_every, n, size=options.batch_size) for n in range(1, len(rows) + 1)]
    n_epochs, done = options.max_epoch - progress.epoch, progress.batch
    n_evaluations = n_epochs * sum(due) - sum(due[:done]) + progress.due
    testing = n_evaluations * pace.testing * clips_of([*run.data.test, *run.data.validation], options.attn_window)
    training = pace.training * (n_epochs * sum(clips) - sum(clips[:done]))
    what = "the rest of " * (progress.step > 0) + f"{options.max_epoch} epoch{'s' * (options.max_epoch > 1)}"
    evaluations = f"{n_evaluations:,} evaluation{'s' * (n_evaluations != 1)}"
    return f"about {spoken(training + testing)} for {what}, of which {spoken(testing)} for {evaluations}"


def spoken(seconds: float) -> str:
    """`2 h 10 min`, `12 min`, `2 min 40 s` or `40 s`: as exact as an estimate may be."""
    if seconds < 600:
        minutes, seconds = divmod(max(1, round(seconds)), 60)
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
