"""LSHMA in a program of one's own: a whole video's scores, and those of cameras while they run.

    import lshma

    detector = lshma.load("runs/ucf/best.pt")  # or the authors' file
    scores = detector.score(features)  # (L, D) of a video -> (L,)
    cameras = detector.stream()
    cameras.add("door")
    for scored in cameras.push({"door": snippets}).values():  # the next (n, D), as they come
        print(scored.first, scored.scores)

Works in any folder, beside modules of the program that are called model.py or dataset.py as ours are.

Shapes: L snippets of one video, n new snippets, T snippets per clip, D width.
"""

import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from numbers import Real
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
if not (HERE / "model.py").exists():
    raise ImportError(f"{HERE} has lshma.py alone; install the project where it lies: pip install -e .")


def is_ours(module: object) -> bool:
    """Whether a module, or what a program has put in its place, is this project's."""
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and HERE in Path(file).resolve().parents


@contextmanager
def own_modules() -> Iterator[None]:
    """Imports in the block find this project's modules; those of the same names that the program has stay as they are.

    They leave no names behind, but in our own programs, where each module would else be there twice.
    """

    def named_like_ours() -> dict:
        names = {path.stem for path in HERE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} - {"lshma"}
        return {name: module for name, module in sys.modules.items() if name.partition(".")[0] in names}

    before = named_like_ours()
    theirs = {name for name, module in before.items() if not is_ours(module)}
    for name in theirs:
        del sys.modules[name]
    sys.path.insert(0, str(HERE))
    try:
        yield
    finally:
        sys.path.remove(str(HERE))
        for name in named_like_ours() if before.keys() == theirs else ():
            del sys.modules[name]
        sys.modules.update(before)


with own_modules():
    from dataset import pack
    from evaluation import smoothing
    from files.checkpoint import Checkpoint
    from files.features import UNUSABLE, unusable
    from model import LSHMA, StreamMemory, scales_of
    from option import FLAGS, SWITCH, TESTING, check
    from outside.exported import Exported
    from running.loading import autocast, choose_device, load_model, ready, require_runnable
    from running.stream_state import StreamState, arrays_of, from_arrays


OF_FILES = ("crops", "drop_snippets")  # options of tests that are about what is read, which is the program's here
KINDS = {flag.name: {SWITCH: bool, float: Real}.get(flag.type, flag.type) for flag in FLAGS["testing"]}


def load(path: str | Path, *, device: str = "auto", **changed: object) -> "Detector":
    """The model of a checkpoint, ours or the authors', or of export.py's model.onnx, as its options say, ready to score.

    changed: other values for options of testing, such as smooth="none" or exit_threshold=0.7. Raises FileNotFoundError, or
    ValueError that names what is wrong with the file, an option or the device.
    """
    known = [name for name in TESTING if name not in OF_FILES]
    if unknown := changed.keys() - set(known):
        raise ValueError(f"{min(unknown)}: no option of testing; they are {', '.join(known)}")
    for name, value in changed.items():
        kind = KINDS[name]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{name} must be {kind.__name__}, not {value!r}")
    where = choose_device(str(device))
    with torch.random.fork_rng(devices=[]):  # weights are drawn before they are read
        model, options, loaded = load_model(path and str(path))
    vars(options).update(changed)
    check(options, ["testing"])
    require_runnable(model, options)
    return Detector(ready(model, options, where), options, where, loaded)


class Detector:
    """A model that scores. One for all videos and cameras: what they remember lies elsewhere. Each process loads its own, after
    it was forked: it cannot be pickled, and threads that it has begun do not come along.
    """

    def __init__(self, model: LSHMA | Exported, options: Namespace, device: torch.device, loaded: Checkpoint | None = None):
        self.model, self.options, self.device = model, options, device
        self.trained = (loaded and loaded.options) or {}  # the options of the training, if its file says them
        self.video_threshold = loaded and loaded.video_threshold
        self.how = {"key_clips": options.keyclip_test, "scales": scales_of(options)}

    def score(self, features: np.ndarray) -> np.ndarray:
        """The scores of a whole video, smoothed as the options say: (L, D) -> (L,) float64 in [0, 1].

        Raises ValueError where the features have another width or are not usable, or the logits are not finite.
        """
        features = self.checked(features)
        if not len(features):
            return np.empty(0)
        clips, starts = pack([features], self.options.attn_window)
        with torch.inference_mode(), autocast(self.options, self.device):
            out = self.model(clips.to(self.device), starts.to(self.device), **self.how)
        logits = finite(out.logits.float().flatten()[: len(features)].cpu().numpy(), "the video")
        smooth, width, pad = self.options.smooth, self.options.smooth_width, self.options.smooth_pad
        return smoothing.sigmoid(smoothing.smooth(logits, smooth, width, pad))

    def stream(self) -> "Streams":
        """Cameras that come and go, none at first."""
        return Streams(self)

    def checked(self, features: np.ndarray) -> np.ndarray:
        """(n, D) or, of one snippet, (D,) features as (n, D) float32. Raises ValueError."""
        width = self.options.visual_width
        if isinstance(features, torch.Tensor):
            features = (features.float() if features.is_floating_point() else features).detach().cpu()
        features = np.atleast_2d(np.asarray(features))
        if features.dtype.kind not in "fiu":
            raise ValueError(f"expected features that are real numbers, found {features.dtype}")
        with np.errstate(over="ignore", under="ignore"):
            features = features.astype(np.float32, copy=False)
        if features.ndim != 2 or features.shape[1] != width:
            raise ValueError(f"expected features of shape (snippets, {width}), found {features.shape}")
        if unusable(features).any():
            raise ValueError(f"features are {UNUSABLE}; a snippet that is lost can be zero")
        return features


def finite(logits: np.ndarray, whose: str) -> np.ndarray:
    """The logits. Raises ValueError where they are not finite."""
    if not np.isfinite(logits).all():
        raise ValueError(f"logits of {whose} are not finite: its features, or the weights, are out of range")
    return logits


class Scored(NamedTuple):
    """What is known of a stretch of a camera's snippets."""

    first: int  # the number of the first of them, counted from the camera's start or reset
    scores: np.ndarray  # (n,) float64 in [0, 1], smoothed without looking ahead
    logits: np.ndarray  # (n,) float32, not smoothed
    exit_layer: np.ndarray  # (n,) int64
    key: np.ndarray  # (n,) bool


class Streams:
    """Named cameras, each with a memory of its own; scores come with each camera's every T-th snippet.

    Whatever cameras are beside it, and whenever it came, a camera's scores are those of its snippets as a whole video, smoothed
    as `causal` where the options say `slide` or `fixed`. Of one thread at a time; each may have its own of one detector.
    """

    def __init__(self, detector: Detector):
        self.detector = detector
        self.cameras: dict[str, StreamState] = {}  # in the order of the rows of memory
        self.parts: list[StreamMemory] = [detector.model.empty_memory(0)]

    @property
    def memory(self) -> StreamMemory:
        """Of all cameras, a row each: those that have come since it was asked for last are joined at once, not one by one."""
        if len(self.parts) > 1:
            self.parts = [self.parts[0].join(*self.parts[1:])]
        return self.parts[0]

    @memory.setter
    def memory(self, memory: StreamMemory) -> None:
        self.parts = [memory]

    def add(self, *names: str) -> None:
        """Cameras that have seen nothing. Raises ValueError where one is there already; then none is added."""
        known = set(self.cameras)
        for name in names:
            if name in known:
                raise ValueError(f"{name!r} is there already; reset it, or choose another name")
            known.add(name)
        for of_camera in [(name, *self.fresh()) for name in names]:
            self.join(*of_camera)

    def fresh(self) -> tuple[StreamState, StreamMemory]:
        """One that has seen nothing, and the row of memory of it."""
        width = self.detector.options.visual_width
        return StreamState(np.empty((0, width), np.float32)), self.detector.model.empty_memory(1)

    def join(self, name: str, camera: StreamState, memory: StreamMemory) -> None:
        """Add a camera with its row of memory. Raises ValueError where it is there already."""
        if name in self.cameras:
            raise ValueError(f"{name!r} is there already; reset it, or choose another name")
        self.cameras[name] = camera
        self.parts.append(memory)

    def camera(self, name: str) -> StreamState:
        """The camera of this name. Raises KeyError that says which there are."""
        if name not in self.cameras:
            raise KeyError(f"no camera {name!r}; there are: {', '.join(map(repr, self.cameras)) or 'none'}; add it first")
        return self.cameras[name]

    def drop(self, *names: str) -> None:
        """Forget cameras. Raises KeyError where one is not there; then none is forgotten."""
        gone = {name: self.camera(name) for name in names}
        stay = [i for i, name in enumerate(self.cameras) if name not in gone]
        memory = self.memory.take(self.places(stay))
        self.cameras, self.memory = {name: of for name, of in self.cameras.items() if name not in gone}, memory

    def reset(self, *names: str) -> None:
        """Let cameras begin anew, as after a cut. Raises KeyError where one is not there; then none does."""
        anew = {name: self.camera(name) for name in names}
        rows = [i for i, name in enumerate(self.cameras) if name in anew]
        memory = self.memory.put(self.places(rows), self.detector.model.empty_memory(len(rows)))
        self.cameras, self.memory = self.cameras | {name: self.fresh()[0] for name in anew}, memory

    def state(self, name: str) -> dict[str, np.ndarray]:
        """All that a camera needs to go on, to the bit, as `restore` takes it. Raises KeyError where it is not there."""
        camera, row = self.camera(name), list(self.cameras).index(name)
        return arrays_of(camera, self.memory.take(self.places([row])))

    def restore(self, name: str, state: Mapping[str, np.ndarray]) -> None:
        """Add a camera that goes on from a `state`.

        Raises ValueError, and changes nothing, where one is there already, or the state is of a model of another size, or of
        another smoothing. Of other weights it is not known: go on with the checkpoint that it is of.
        """
        try:
            camera, memory = from_arrays(state, *self.fresh(), self.detector.options.smooth_width)
        except ValueError as error:
            raise ValueError(f"{name!r} cannot go on: {error}") from None
        self.join(name, camera, memory)

    def push(self, snippets: Mapping[str, np.ndarray]) -> dict[str, Scored]:
        """The next (n, D) snippets of some cameras, n as they come; returns what they let know, of the cameras it is of.

        Raises KeyError where a camera is not there, and ValueError where features are not as `Detector.score` needs them, or
        logits are not finite; then nothing has changed, of any camera.
        """
        new = {name: self.detector.checked(features) for name, features in snippets.items()}
        return self.advance({name: np.concatenate((self.camera(name).waiting, new[name])) for name in new})

    def finish(self, name: str) -> Scored | None:
        """The scores of a camera's last snippets, as if no more came, and drop it; None where all are known.

        Raises as `push`.
        """
        waiting, window = self.camera(name).waiting, self.detector.options.attn_window
        n = len(waiting)
        scored = self.advance({name: np.pad(waiting, ((0, -n % window), (0, 0)))}).get(name)
        self.drop(name)
        return scored and Scored(scored.first, *(values[:n] for values in scored[1:]))

    def advance(self, waiting: Mapping[str, np.ndarray]) -> dict[str, Scored]:
        """Score all whole clips of what waits of these cameras; where that fails, all is as it was."""
        before = self.memory, self.cameras
        self.cameras = self.cameras | {name: replace(self.cameras[name], waiting=of) for name, of in waiting.items()}
        try:
            return self.score_waiting({name: self.cameras[name] for name in waiting})
        except BaseException:
            self.memory, self.cameras = before
            raise

    def score_waiting(self, cameras: Mapping[str, StreamState]) -> dict[str, Scored]:
        """Score all whole clips of these cameras, the next clip of all that have one at a time."""
        window, row = self.detector.options.attn_window, {name: i for i, name in enumerate(self.cameras)}
        parts: dict[str, list[list[np.ndarray]]] = {}
        while whole := [name for name, camera in cameras.items() if len(camera.waiting) >= window]:
            clips = np.stack([cameras[name].waiting[:window] for name in whole])
            out = self.step(torch.from_numpy(clips), [row[name] for name in whole])
            for i, name in enumerate(whole):
                cameras[name].waiting = cameras[name].waiting[window:]
                parts.setdefault(name, []).append([values[i] for values in out])
        return {name: self.scored(name, *map(np.concatenate, zip(*of, strict=True))) for name, of in parts.items()}

    def step(self, clips: torch.Tensor, rows: list[int]) -> tuple[np.ndarray, ...]:
        """One clip of each of the cameras in these rows: (B, T, D) -> logits, exit layers and key, (B, T) each."""
        detector, everybody = self.detector, rows == list(range(len(self.cameras)))
        places = self.places(rows)
        with torch.inference_mode(), autocast(detector.options, detector.device):
            past = self.memory if everybody else self.memory.take(places)
            out, now = detector.model.step(clips.to(detector.device), past, **detector.how)
            self.memory = now if everybody else self.memory.put(places, now)
        logits = out.logits.float()
        return tuple(x.cpu().numpy() for x in (logits, *(x.unsqueeze(1).expand_as(logits) for x in (out.exit_layer, out.key))))

    def scored(self, name: str, logits: np.ndarray, exit_layer: np.ndarray, key: np.ndarray) -> Scored:
        """What is known of a camera's next (n,) snippets, which it then has seen."""
        camera = self.cameras[name]
        smooth, width, first = self.detector.options.smooth, self.detector.options.smooth_width, camera.n_scored
        together = np.concatenate((camera.last, finite(logits, name)))
        smoothed = smoothing.smooth(together, "none" if smooth == "none" else "causal", width, "edge")[len(camera.last) :]
        camera.last, camera.n_scored = together[max(0, len(together) - width + 1) :], first + len(logits)
        return Scored(first, smoothing.sigmoid(smoothed), logits, exit_layer, key)

    def places(self, rows: list[int]) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.int64, device=self.detector.device)
