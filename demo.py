"""Make a small synthetic feature set in the layout of the real ones, to see the whole project work without any download.

    python demo.py --out demo
    python demo.py --out demo/street --videos 32
    python demo.py --out demo/memory --gaps 2 4 8 16 32 64 --n-videos 1200 --width 128

The features are synthetic: scenes that drift slowly, with everyday events in all videos; anomalies are short bursts, or long
and slow changes. Folders, names, crops and annotation files are VadCLIP's and the data sets' own; lists and ground truth come
from `list/make_list.py`. The same command makes the same files.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

from files import atomic
from option import Parser
from running.command import exit_codes
from video import drawing

N_CROPS = 10
N_EVENTS = 12  # everyday events, seen in normal and anomalous videos alike
N_ANOMALIES = 3
N_SCENES = 12  # a video's background is a mixture of them
MARGIN = 16  # clips before and after the events of the memory experiment, more than two layers of 7 clips see back
UCF_CLASSES = ("Abuse", "Arson", "Fighting", "Robbery")
XD_LABELS = ("B1-0-0", "B2-0-0", "B4-0-0", "B1-B2-0")
OWN_CLASSES = ("fall", "fight")
MAKE_LIST = Path(__file__).resolve().parent / "list" / "make_list.py"


class World:
    """Where scenes, events and anomalies lie in the feature space; videos are drawn from it."""

    def __init__(self, *, seed: int, width: int):
        self.rng = np.random.default_rng(seed)
        self.width = width
        self.scenes = self.directions(N_SCENES)
        self.events = self.directions(N_EVENTS)
        self.anomalies = self.directions(N_ANOMALIES)

    def directions(self, n: int) -> np.ndarray:
        """(n, width) random unit vectors."""
        x = self.rng.standard_normal((n, self.width))
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    def video(self, n_snippets: int, anomalous: bool) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """(n_snippets, width) features at about the norm of CLIP's, and the anomalous intervals [start, end) in snippets."""
        rng = self.rng
        mixture = 2.0 * rng.standard_normal(N_SCENES) + np.cumsum(0.15 * rng.standard_normal((n_snippets, N_SCENES)), 0)
        x = mixture @ self.scenes  # (n_snippets, width), drifting
        for _ in range(1 + n_snippets // 25):
            start, length = rng.integers(n_snippets), rng.integers(2, 9)
            x[start : start + length] += rng.uniform(2.0, 5.0) * self.events[rng.integers(N_EVENTS)]
        intervals = [self.add_anomaly(x, slow=bool(rng.integers(2))) for _ in range(rng.integers(1, 3) if anomalous else 0)]
        return x + rng.standard_normal(x.shape) * 5.0 / self.width**0.5, sorted(intervals)

    def add_anomaly(self, x: np.ndarray, slow: bool) -> tuple[int, int]:
        """Add a short burst, or a change that comes and goes slowly; returns where."""
        rng, n = self.rng, len(x)
        length = min(n, int(rng.integers(n // 4, n // 2)) if slow else int(rng.integers(3, 8)))
        start = int(rng.integers(n - length + 1))
        shape = np.sin(np.linspace(0.3, np.pi - 0.3, length)) if slow else np.ones(length)
        strength = rng.uniform(2.0, 4.0) if slow else rng.uniform(2.5, 5.0)
        x[start : start + length] += strength * shape[:, None] * self.anomalies[rng.integers(N_ANOMALIES)]
        return start, start + length

    def save(self, folder: Path, name: str, features: np.ndarray, crops: range) -> None:
        """Write a video's crops, each a slightly different view, as float16."""
        folder.mkdir(parents=True, exist_ok=True)
        for crop in crops:
            view = features + self.rng.standard_normal(features.shape) * 1.5 / self.width**0.5
            with atomic.replacing(folder / f"{name}__{crop}.npy") as file:
                np.save(file, view.astype(np.float16))


def frames_of(intervals: list[tuple[int, int]]) -> list[int]:
    """Snippet intervals as a flat list of frames."""
    return [16 * edge for interval in intervals for edge in interval]


def make_ucf(world: World, out: Path, *, n_videos: int, length: int) -> None:
    """Folders per class, as VadCLIP ships UCF-Crime; the annotations name the test videos."""
    root, lines = out / "UCFClipFeatures", []
    for i in range(n_videos):
        label, test = UCF_CLASSES[i // 8 % len(UCF_CLASSES)] if i % 2 else "Normal", i % 8 >= 6
        features, intervals = world.video(int(world.rng.integers(length // 2, 3 * length // 2)), label != "Normal")
        if label == "Normal":
            folder, name = f"{'Testing' if test else 'Training'}_Normal_Videos_Anomaly", f"Normal_Videos{i:03}_x264"
        else:
            folder, name = label, f"{label}{i:03}_x264"
        world.save(root / folder, name, features, range(N_CROPS))
        if test:
            edges = (frames_of(intervals) + [-1] * 4)[:4]
            lines.append(f"{name}.mp4  {label}  {'  '.join(map(str, edges))}")
    atomic.write_text(out / "Temporal_Anomaly_Annotation.txt", "\n".join(lines) + "\n")
    make_list(out, "ucf", root, out / "Temporal_Anomaly_Annotation.txt")


def make_xd(world: World, out: Path, *, n_videos: int, length: int) -> None:
    """Two folders and labels in the names, as VadCLIP ships XD-Violence; the annotations name the anomalous test videos."""
    root, lines = out / "XDFeatures", []
    for i in range(n_videos):
        label, test = XD_LABELS[i // 8 % len(XD_LABELS)] if i % 2 else "A", i % 8 >= 6
        features, intervals = world.video(int(world.rng.integers(length // 2, 3 * length // 2)), label != "A")
        name = f"Synthetic.Film.{i:03}__#00-01-00_00-02-00_label_{label}"
        world.save(root / f"XD{'Test' if test else 'Train'}ClipFeatures", name, features, range(N_CROPS))
        if test and intervals:
            lines.append(f"{name} {' '.join(map(str, frames_of(intervals)))}")
    atomic.write_text(out / "annotations.txt", "\n".join(lines) + "\n")
    make_list(out, "xd", root, out / "annotations.txt")


def make_longterm(world: World, out: Path, *, n_videos: int, length: int) -> None:
    """Long videos whose true frame counts are no multiple of 16."""
    root, lines, counts = out / "LongTermFeatures", [], ["video,frames"]
    for i in range(n_videos):
        features, intervals = world.video(length, bool(i % 2))
        name = f"synthetic{i:03}"
        world.save(root, name, features, range(1))
        lines.append(" ".join([name, *map(str, frames_of(intervals))]))
        counts.append(f"{name},{16 * length - int(world.rng.integers(16))}")
    atomic.write_text(out / "longterm_annotations.txt", "\n".join(lines) + "\n")
    atomic.write_text(out / "longterm_frames.csv", "\n".join(counts) + "\n")
    make_list(out, "longterm", root, out / "longterm_annotations.txt", "--frames", str(out / "longterm_frames.csv"))


def make_own(world: World, out: Path, *, n_videos: int, length: int) -> None:
    """Folders named after labels of one's own, one file a video; the annotations are of the anomalous videos."""
    root, lines = out / "MyFeatures", []
    for i in range(n_videos):
        label = OWN_CLASSES[i // 2 % len(OWN_CLASSES)] if i % 2 else "calm"
        features, intervals = world.video(int(world.rng.integers(length // 2, 3 * length // 2)), label != "calm")
        name = f"clip{i:03}"
        world.save(root / label, name, features, range(1))
        if intervals:
            lines.append(" ".join([name, *map(str, frames_of(intervals))]))
    atomic.write_text(out / "my_annotations.txt", "\n".join(lines) + "\n")
    split = ("--class-folders", "--normal-label", "calm", "--test-share", "0.25")
    make_list(out, "own", root, out / "my_annotations.txt", *split)


def make_gap(world: World, out: Path, gap: int, *, n_videos: int) -> None:
    """A set whose anomaly no window of `gap` clips can show: two ordinary events in the wrong order, `gap` clips apart.

    A door opens and, so many clips later, closes; in an anomalous video it closes before it opens. Each event lasts a clip and
    is as frequent in normal as in anomalous videos, and the second event alone is anomalous. In half of the normal training
    videos nothing happens, so that events stand out; in the test videos there are always both. A video begins long before and
    ends long after its events: else a short memory could tell which event is the last by what follows it. Writes train.csv,
    test.csv and gt.npy.
    """
    rng, opening, closing = world.rng, *8.0 * world.events[:2]
    lists, truth = {"train": ["path,label"], "test": ["path,label"]}, []
    for i in range(n_videos):
        part, anomalous = "test" if i % 6 >= 4 else "train", i % 2 == 1
        n_clips = MARGIN + 4 + gap + MARGIN
        x = 5.0 * world.scenes[0] + rng.standard_normal((4 * n_clips, world.width)) / world.width**0.5
        start = int(rng.integers(MARGIN, MARGIN + 4))
        if anomalous or part == "test" or rng.random() < 0.5:
            first, second = (closing, opening) if anomalous else (opening, closing)
            x[4 * start : 4 * start + 4] += first
            x[4 * (start + gap) : 4 * (start + gap) + 4] += second
        name = f"{'Abuse' if anomalous else 'Normal'}{i:04}"
        world.save(out, name, x, range(1))
        lists[part].append(f"{name}__0.npy,{'Abuse' if anomalous else 'Normal'}")
        if part == "test":
            wrong = np.zeros(4 * n_clips, np.float32)
            wrong[4 * (start + gap) : 4 * (start + gap) + 4] = anomalous
            truth.append(wrong.repeat(16))
    for part, lines in lists.items():
        atomic.write_text(out / f"{part}.csv", "\n".join(lines) + "\n")
    with atomic.replacing(out / "gt.npy") as file:
        np.save(file, np.concatenate(truth))


def make_list(out: Path, data_set: str, root: Path, annotations: Path, *more: str) -> None:
    """Run `list/make_list.py` as a user would."""
    paths = ["--feature-root", str(root), "--annotations", str(annotations), "--out", str(out / "list")]
    done = subprocess.run([sys.executable, str(MAKE_LIST), data_set, *paths, *more])
    if done.returncode:
        raise ValueError(f"{MAKE_LIST.name} ended with {done.returncode}; what it said stands above")


parser = Parser("Make a synthetic feature set in the real layout.")
parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write to")
parser.add_argument("--seed", type=int, default=0, help="of everything drawn")
parser.add_argument("--width", type=int, default=512, help="width of the features")
parser.add_argument("--n-videos", type=int, default=160, help="videos like UCF-Crime's, a quarter of them for testing")
parser.add_argument("--length", type=int, default=48, help="mean length of a video, in snippets")
parser.add_argument("--videos", type=int, default=0, help="instead, so many drawn videos of a street, with brawls in half of "
                    "them, a quarter for testing; needs requirements-video.txt")  # fmt: skip
parser.add_argument("--gaps", type=int, nargs="+", default=[], help="instead, sets of --n-videos for the memory experiment, "
                    "one for each number of clips between two events")  # fmt: skip


def main() -> None:
    args = parser.parse_args()
    if any(not 1 <= gap <= 4096 for gap in args.gaps) or len(set(args.gaps)) < len(args.gaps):
        parser.error("--gaps must be different numbers from 1 to 4096")
    if args.n_videos < 16 or args.length < 16 or not 2 <= args.width <= 2**14 or args.seed < 0:
        parser.error("--n-videos and --length must be at least 16, --width 2 to 16384, --seed at least 0")
    if args.videos:
        if args.videos < 8:
            parser.error("--videos must be at least 8")
        drawing.write(args.out, args.videos - args.videos // 4, args.videos // 4, args.seed)
        print(f"{args.out}: {args.videos} drawn videos and annotations.txt; they show that it runs, and nothing of real video")
        return
    world = World(seed=args.seed, width=args.width)
    for gap in args.gaps:
        make_gap(world, args.out / str(gap), gap, n_videos=args.n_videos)
    if args.gaps:
        print(f"{args.out}: sets for the memory experiment, events {', '.join(map(str, args.gaps))} clips apart")
        return
    make_ucf(world, args.out, n_videos=args.n_videos, length=args.length)
    make_xd(world, args.out, n_videos=max(16, args.n_videos // 4), length=args.length)
    make_longterm(world, args.out, n_videos=6, length=10 * args.length)
    make_own(world, args.out, n_videos=max(16, args.n_videos // 4), length=args.length)
    print(f"{args.out}: a synthetic feature set; its scores say nothing about real video")


if __name__ == "__main__":
    with exit_codes():
        main()
