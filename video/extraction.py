"""Videos to features: threads decode, one place encodes what they bring, and a finished video is written whole.

Shapes: N pictures, C crops, L snippets of one video, D width.
"""

import queue
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from itertools import takewhile

import numpy as np

from files.extra import needed
from files.interrupt import SIGNALS
from files.lists import several
from files.progress import bar
from video.decode import DEFAULT_FPS, Resampled, Video, by_time, opened
from video.encoders import Encoder
from video.feature_folder import Facts, Folder
from video.finding import Found
from video.pictures import crops_of
from video.snippets import Snippet, cut, places_of, vectors_of

WAITING = 16  # snippets that are decoded and not yet encoded, at most


class Decoding:
    """Threads that decode videos, a video each at a time; what they bring waits in a queue of bounded length."""

    def __init__(self, videos: Sequence[Found], options: Namespace):
        self.videos, self.options, self.places = videos, options, places_of(options.rule, options.frames_per_snippet)
        self.todo: queue.SimpleQueue[Found] = queue.SimpleQueue()
        for video in videos:
            self.todo.put(video)
        self.ready: queue.Queue[tuple[Found, Snippet | Facts | BaseException]] = queue.Queue(WAITING)
        self.stopped = threading.Event()
        n_threads = max(1, min(options.workers, len(videos)))
        self.threads = [threading.Thread(target=self.work, name=f"decoder {i}", daemon=True) for i in range(n_threads)]

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
            except BaseException as error:  # who waits for the video hears of it
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
        before = video.state()
        with opened(str(video.path)) as source:
            frames = takewhile(lambda _: not self.stopped.is_set(), source.frames())
            if self.options.by == "time":
                frames = by_time(frames, self.options.fps)
            n_frames = 0
            for snippet in cut(frames, self.places):
                n_frames += snippet.n_frames
                yield snippet
            if self.stopped.is_set():  # nobody waits for a part of it
                return
            if not n_frames:
                raise ValueError(f"{video.path}: no frame of it can be decoded ({source.broken or 'the stream is empty'})")
            fps = self.options.fps if self.options.by == "time" else source.fps
            told = remark_on(source), note_on(source, frames)
            yield Facts(n_frames, fps, n_frames / fps, source.width, source.height, *told, before)

    def __iter__(self) -> Iterator[tuple[Found, object]]:
        """All that is brought, until the threads are done."""
        while True:
            try:
                yield self.ready.get(timeout=0.05)
            except queue.Empty:
                if not any(thread.is_alive() for thread in self.threads) and self.ready.empty():
                    return


def remark_on(source: Video) -> str:
    """What a video lacks: packets that were skipped, why it ends early, and both counts."""
    parts = [f"damaged packets, skipped: {source.n_bad}"] if source.n_bad else []
    if source.broken:
        parts.append(source.broken)
    short = source.n_header is not None and source.n_frames < source.n_header
    if parts or short:
        counts = f"frames decoded: {source.n_frames:,}"
        parts.append(f"{counts} of {source.n_header:,} by its header" if source.n_header else counts)
    return "; ".join(parts)


def note_on(source: Video, frames: Iterator) -> str:
    """What is not as in the scene, or made up since a video does not say it: colours, rate, and where these count, times."""
    parts = [f"it does not say its frame rate, {DEFAULT_FPS:g} is assumed"] if source.fps_guessed else []
    if source.matrix:
        parts.append(f"its colours are in {source.matrix}, and are read as if they were not: they are wrong; convert it first")
    if source.n_interlaced:
        combs = "what moves in them has combs, unless FFmpeg's filter bwdif takes them out first"
        parts.append(f"interlaced frames: {source.n_interlaced:,}; {combs}")
    if isinstance(frames, Resampled):
        if source.n_untimed:
            parts.append(f"{source.n_untimed:,} frames have no time, and follow at its rate")
        if frames.n_jumps:
            parts.append(f"its clock jumps {frames.n_jumps:,} times, which is bridged")
    return "; ".join(parts)


class Progress:
    """A bar in videos, with the frames a second so far; it moves within a long video too."""

    def __init__(self, n_videos: int):
        self.bar, self.n_frames, self.began = bar(None, "extracting", n_videos, unit="video"), 0, time.perf_counter()
        self.shown = self.began

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()

    def rate(self) -> str:
        seconds = time.perf_counter() - self.began
        return f"{self.n_frames:,} frames in {seconds:.1f} s, {self.n_frames / max(seconds, 1e-9):,.0f} frames/s"

    def frames(self, n: int) -> None:
        self.n_frames += n
        self.bar.set_postfix_str(self.rate().rpartition(", ")[2], refresh=False)
        if time.perf_counter() - self.shown > self.bar.mininterval:
            self.shown = time.perf_counter()
            self.bar.refresh()

    def tell(self, line: str) -> None:
        self.bar.write(line, file=sys.stderr)


def extract(videos: Sequence[Found], out: Folder, encoder: Encoder, options: Namespace) -> list[str]:
    """Extract the videos that are not done; returns a line for each that failed. Says which are done already, or again."""
    todo = [video for video in videos if not out.has(video)]
    if len(todo) < len(videos):
        print(f"{len(videos) - len(todo)} of {len(videos)} videos are done already, in {out.path}")
    in_part = [video for video in videos if video.name in out.remarks and video not in todo]
    if in_part:
        lines = [f"{video.path}: {out.remarks[video.name]}" for video in in_part]
        print(several(f"of these, {len(in_part)} are there in part", lines))
    if again := [str(video.path) for video in todo if video.name in out.rows]:
        why = "since they are newer than their features, or others than then, or some features are missing or not whole"
        print(several(f"{len(again)} videos are done again, {why}", again))
    failed, n_done = [], 0
    try:
        with SIGNALS, Progress(len(todo)) as progress, Decoding(todo, options) as decoding:
            for video, features, what in finished(decoding, encoder, options, progress):
                if isinstance(what, str):
                    failed.append(what)
                elif what.remark and options.strict:
                    failed.append(f"{video.path}: {what.remark} (--strict)")
                elif video.state() not in (what.state, None):  # its features would be newer than it, and so count as done
                    failed.append(f"{video.path}: it changed while it was read; extract it again when it is whole")
                else:
                    with SIGNALS.held():
                        out.add(video, features, what)
                    n_done += 1
                    for kind, text in (("warning", what.remark), ("note", what.note)):
                        if text:
                            progress.tell(f"{kind}: {video.path}: {text}")
                progress.bar.update()
    except KeyboardInterrupt:
        left = len(todo) - n_done - len(failed)
        raise KeyboardInterrupt(f"stopped; {n_done} videos are done, the same command goes on with the {left} left") from None
    if todo:
        print(f"{n_done} videos, {progress.rate()}; features in {out.path}")
    return failed


def finished(
    decoding: Decoding, encoder: Encoder, options: Namespace, progress: Progress
) -> Iterator[tuple[Found, np.ndarray | None, Facts | str]]:
    """Each video as it ends: its (C, L, D) features and what is known of it, or why it has none.

    Raises what is no fault of a video.
    """
    of_video = (ValueError, OSError, MemoryError, needed("av").FFmpegError)
    vectors: dict[str, list[np.ndarray]] = {video.name: [] for video in decoding.videos}  # of each snippet (C, D) float16
    for ready in batches(decoding, options.batch_size, options.crops):
        encode(ready, vectors, encoder, options)
        progress.frames(sum(what.n_frames for _, what in ready if isinstance(what, Snippet)))
        for video, what in ready:
            if isinstance(what, Facts):
                yield video, np.stack(vectors.pop(video.name), 1), what
            elif isinstance(what, of_video):
                del vectors[video.name]
                why = getattr(what, "strerror", None) or str(what) or type(what).__name__  # a system's error in its words
                yield video, None, why if str(video.path) in why else f"{video.path}: {why}"
            elif isinstance(what, BaseException):
                raise what


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


def encode(ready: Sequence[tuple], vectors: dict[str, list], encoder: Encoder, options: Namespace) -> None:
    """Add the vectors of all snippets among these to their videos'."""
    snippets = [(video.name, what.pictures) for video, what in ready if isinstance(what, Snippet)]
    if not snippets:
        return
    crops = crops_of(np.concatenate([pictures for _, pictures in snippets]), options.crops)  # (N, C, 224, 224, 3)
    flat = crops.reshape(-1, *crops.shape[2:])
    parts = [encoder.encode(flat[at : at + options.batch_size]) for at in range(0, len(flat), options.batch_size)]
    encoded = np.concatenate(parts).reshape(len(crops), options.crops, -1)  # (N, C, D)
    ends = np.cumsum([len(pictures) for _, pictures in snippets])
    for (name, _), of_snippet in zip(snippets, np.split(encoded, ends[:-1]), strict=True):
        vectors[name].append(vectors_of(of_snippet))


def failures(failed: Sequence[str], n_videos: int) -> str:
    """All of them, for the end of a run."""
    others = "; the others are done" if len(failed) < n_videos else ""
    return "\n  ".join([f"{len(failed)} of {n_videos} videos gave no features{others}:", *failed])
