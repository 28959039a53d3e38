"""Videos to features: threads decode, one place encodes what they bring, and a finished video is written whole.

Shapes: N pictures, C crops, L snippets of one video, D width.
"""

import queue
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from files.interrupt import SIGNALS
from files.lists import several
from files.progress import bar
from video.decode import by_time, opened
from video.encoders import Encoder
from video.feature_folder import Facts, Folder
from video.finding import Found
from video.pictures import crops_of
from video.snippets import Snippet, cut, places_of, vectors_of

WAITING = 16  # snippets that are decoded and not yet encoded, at most


@dataclass
class Job:
    """A video on its way: its snippets' vectors so far."""

    video: Found
    vectors: list[np.ndarray] = field(default_factory=list)  # of each snippet (C, D) float16


class Decoding:
    """Threads that decode videos, a video each at a time; what they bring waits in a queue of bounded length."""

    def __init__(self, videos: Sequence[Found], options: Namespace):
        self.options, self.places = options, places_of(options.rule, options.frames_per_snippet)
        self.todo: queue.SimpleQueue[Found] = queue.SimpleQueue()
        for video in videos:
            self.todo.put(video)
        self.ready: queue.Queue[tuple[Found, Snippet | Facts | ValueError | OSError]] = queue.Queue(WAITING)
        self.stopped = threading.Event()
        n_threads = max(1, min(options.workers, len(videos)))
        self.threads = [threading.Thread(target=self.work, name=f"decoder {i}") for i in range(n_threads)]

    def __enter__(self) -> "Decoding":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def work(self) -> None:
        while not self.stopped.is_set():
            try:
                video = self.todo.get_nowait()
            except queue.Empty:
                return
            try:
                for snippet in self.snippets(video):
                    self.put(video, snippet)
                    if self.stopped.is_set():
                        return
            except (ValueError, OSError) as error:
                self.put(video, error)

    def put(self, video: Found, what: object) -> None:
        while not self.stopped.is_set():
            try:
                self.ready.put((video, what), timeout=0.2)
                return
            except queue.Full:
                continue

    def snippets(self, video: Found) -> Iterator[Snippet | Facts]:
        """A video's snippets, and behind them what is known of it. Raises ValueError or OSError where it has none."""
        with opened(str(video.path)) as source:
            frames = source.frames()
            if self.options.by == "time":
                frames = by_time(frames, self.options.fps)
            n_frames = 0
            for snippet in cut(frames, self.places):
                n_frames += snippet.n_frames
                yield snippet
            if not n_frames:
                raise ValueError(f"{video.path}: no frame of it can be decoded ({source.broken or 'the stream is empty'})")
            fps = self.options.fps if self.options.by == "time" else source.fps
            yield Facts(
                n_frames, fps, n_frames / fps, source.width, source.height, remark_on(source, n_frames, self.options.by)
            )

    def __iter__(self) -> Iterator[tuple[Found, object]]:
        """All that is brought, until the threads are done."""
        while True:
            try:
                yield self.ready.get(timeout=0.05)
            except queue.Empty:
                if not any(thread.is_alive() for thread in self.threads) and self.ready.empty():
                    return


def remark_on(source, n_frames: int, by: str) -> str:
    """What a video lacks: both counts where it breaks off, and packets that were skipped."""
    parts = []
    if source.n_bad:
        parts.append(f"{source.n_bad} damaged packets are skipped")
    if source.broken:
        parts.append(f"it breaks off ({source.broken})")
    short = by == "frames" and source.n_header is not None and n_frames < source.n_header
    if parts or short:
        promised = "an unknown number of" if source.n_header is None else f"{source.n_header:,}"
        parts.append(f"the header says {promised} frames, {n_frames:,} are decoded")
    return "; ".join(parts)


def extract(videos: Sequence[Found], out: Folder, encoder: Encoder, options: Namespace) -> list[str]:
    """Extract the videos that are not done; returns a line for each that failed. Says which are done already."""
    todo = [video for video in videos if not out.has(video)]
    if len(todo) < len(videos):
        print(f"{len(videos) - len(todo)} of {len(videos)} videos are done already, in {out.path}")
    jobs, failed, n_frames, began = {video.name: Job(video) for video in todo}, [], 0, time.perf_counter()
    with SIGNALS, bar(None, "extracting", len(todo), unit="video") as line, Decoding(todo, options) as decoding:
        for ready in batches(decoding, options.batch_size, options.crops):
            encode(ready, jobs, encoder, options)
            for video, what in ready:
                if isinstance(what, Snippet):
                    n_frames += what.n_frames
                    continue
                job = jobs.pop(video.name)
                line.set_postfix_str(f"{n_frames / (time.perf_counter() - began):,.0f} frames/s", refresh=False)
                line.update()
                if isinstance(what, Facts) and not (what.remark and options.strict):
                    with SIGNALS.held():
                        out.add(video, np.stack(job.vectors, 1), what)
                    if what.remark:
                        print(f"warning: {video.path}: {what.remark}", file=sys.stderr)
                else:
                    failed.append(f"{video.path}: {what.remark} (--strict)" if isinstance(what, Facts) else str(what))
    seconds = time.perf_counter() - began
    n_done = len(todo) - len(failed)
    print(
        f"{n_done} videos, {n_frames:,} frames in {seconds:.1f} s, {n_frames / seconds:,.0f} frames/s; features in {out.path}"
    )
    return failed


def batches(decoding: Decoding, n_pictures: int, n_crops: int) -> Iterator[list[tuple]]:
    """What is ready, about so many pictures of snippets at a time, and never waiting for more than there is."""
    batch, n = [], 0
    for video, what in decoding:
        batch.append((video, what))
        n += n_crops * len(what.pictures) if isinstance(what, Snippet) else 0
        if n >= n_pictures or decoding.ready.empty():
            yield batch
            batch, n = [], 0
    if batch:
        yield batch


def encode(ready: Sequence[tuple], jobs: dict[str, Job], encoder: Encoder, options: Namespace) -> None:
    """Add the vectors of all snippets among these to their videos'."""
    snippets = [(jobs[video.name], what.pictures) for video, what in ready if isinstance(what, Snippet)]
    if not snippets:
        return
    crops = crops_of(np.concatenate([pictures for _, pictures in snippets]), options.crops)  # (N, C, 224, 224, 3)
    flat = crops.reshape(-1, *crops.shape[2:])
    parts = [encoder.encode(flat[at : at + options.batch_size]) for at in range(0, len(flat), options.batch_size)]
    encoded = np.concatenate(parts).reshape(len(crops), options.crops, -1)  # (N, C, D)
    ends = np.cumsum([len(pictures) for _, pictures in snippets])
    for (job, _), of_snippet in zip(snippets, np.split(encoded, ends[:-1]), strict=True):
        job.vectors.append(vectors_of(of_snippet))


def failures(failed: Sequence[str], n_videos: int) -> str:
    return several(f"{len(failed)} of {n_videos} videos gave no features; the others are done", failed)
