"""From the options of a watch to all that it needs: the model, the encoder that it was trained with, the rule of its alarms."""

import hashlib
import math
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import lshma
import smoothing
from evaluation import scores_file
from evaluation.scores import Record, Scores
from files import folder, origin
from files.features import FRAMES_PER_SNIPPET
from files.lists import several
from files.videos import Video
from option import TESTING
from video import as_trained, feature_folder, report
from video.alarms import Rule
from video.cameras import Camera
from video.decode import opened
from video.encoders import Encoder
from video.flags import RATE
from video.journal import Journal
from video.readers import OPENING, How, told
from video.snippets import places_of
from video.watched import Told
from video.watching import Watch


class Setting(NamedTuple):
    """All that a watch is made of, but its cameras."""

    detector: lshma.Detector
    encoder: Encoder
    how: How
    rule: Rule | None
    model: str  # what scores depend on, as a digest

    def watch(self, cameras: Sequence[Camera], journal: Journal, pictures: Path, announce: Callable[[Told], None]) -> Watch:
        what = (self.detector, self.encoder, cameras, self.how, journal, self.rule)
        return Watch(*what, model=self.model, pictures=pictures, announce=announce)


def prepare(args: Namespace) -> Setting:
    """Load what the options name, and fill in what the checkpoint says. Raises ValueError or OSError."""
    if args.model_path is None:
        raise ValueError("--model-path is missing: give a checkpoint of ours (runs/.../best.pt) or the authors'")
    device = args.device or "auto"
    changed = {name: value for name in TESTING if (value := getattr(args, name, None)) is not None}
    exact = {"precision": "fp32"}  # a clip at a time, nothing is gained by less
    detector = lshma.load(args.model_path, device=device, **exact | changed)
    trained = detector.trained.get("features") or {}
    as_trained.fill_in(args, trained)
    by = args.by or trained.get("by", "frames")
    fps = FRAMES_PER_SNIPPET / args.snippet_seconds if args.snippet_seconds else trained.get("fps") or RATE
    encoder = as_trained.encoder_for(args, device, detector.options.visual_width)
    made = feature_folder.origin_of(Namespace(**vars(args) | {"by": by, "fps": fps, "crops": 1}), encoder)
    what = {"checkpoint": args.model_path, "what": "the features made here"}
    origin.require_alike(detector.trained.get("features"), made, **what, allowed=bool(args.allow_other_features))
    seconds = FRAMES_PER_SNIPPET / fps
    how = How(places_of(args.rule, args.frames_per_snippet), by, fps, seconds, args.forget_after)
    file = hashlib.sha256(Path(args.model_path).read_bytes()).hexdigest()
    model = repr([file, sorted(changed.items()), encoder.name, encoder.digest])
    rule = rule_of(args, detector, seconds) if args.alarms else None
    return Setting(detector, encoder, how, rule, hashlib.sha256(model.encode()).hexdigest())


def rule_of(args: Namespace, detector: lshma.Detector, seconds: float) -> Rule:
    """The rule of alarms. Raises ValueError where nothing says the threshold."""
    on = args.threshold or detector.video_threshold
    if on is None:
        raise ValueError(
            f"{args.model_path} has no threshold, since it was trained without --val-share: give --threshold, find one with "
            "`python watch.py calibrate NORMAL_VIDEOS`, or pass --no-alarms"
        )
    return Rule.at(on, **shape_of(args, seconds))


def shape_of(args: Namespace, seconds: float) -> dict:
    """What is asked of an alarm beside its threshold, in snippets of so many seconds."""
    least, pause = (max(1, math.ceil(value / seconds - 1e-9)) for value in (args.least, args.pause))
    return {"share": args.off_share, "least": least, "pause": pause}


def described(made: Setting, cameras: Sequence[Camera]) -> Iterator[str]:
    """A line of each source, opened, and what would be done. Raises ValueError at the end where one cannot be opened."""
    failed = []
    for camera in cameras:
        try:
            with opened(camera.source, **(OPENING if camera.live else {})) as video:
                frame = next(video.frames(), None)
                if frame is None:
                    raise ValueError(f"{camera.shown}: not one frame can be decoded")
                yield f"{camera.name}: {camera.shown}: {told(video)}; a frame of {frame.size()[1]}x{frame.size()[0]}"
        except (ValueError, OSError) as error:
            failed.append(f"{camera.name}: {error}")
    how, rule = made.how, made.rule
    files = "16 frames" if how.by == "frames" else f"{how.snippet_seconds:.3g} s"
    yield f"a snippet is {files} of a file, {how.snippet_seconds:.3g} s of a live source; {len(how.places)} of its frames count"
    yield f"encoder {made.encoder.name}; " + (f"alarms on at {rule.on:.4g}, off below {rule.off:.4g}" if rule else "no alarms")
    if failed:
        raise ValueError("\n  ".join([f"{len(failed)} of {len(cameras)} sources cannot be opened:", *failed]))


def record_of(watching: Watch) -> Record | None:
    """The scores of the files that were watched, as a test writes them; None where there are none."""
    videos, parts, options = [], [], watching.detector.options
    frames = {stream.id: stream.frames for stream in watching.journal.streams()}
    for name, watched in watching.watched.items():
        rows = watching.journal.scores(name, watched.stream)
        if watched.camera.live or not len(rows.score):
            continue
        n = len(rows.score)
        n_frames = frames.get(watched.stream) or 0
        n_frames = n_frames if FRAMES_PER_SNIPPET * (n - 1) < n_frames <= FRAMES_PER_SNIPPET * n else FRAMES_PER_SNIPPET * n
        videos.append(Video(name, Path(watched.camera.source), "", None, n, n_frames, 0))
        parts.append(rows)
    if not videos:
        return None
    score, logit, layer, key = (
        np.concatenate([getattr(rows, of) for rows in parts]) for of in ("score", "logit", "exit_layer", "key")
    )
    smooth = "none" if options.smooth == "none" else "causal"
    seen = [smoothing.seen(len(rows.score), smooth, options.smooth_width, options.attn_window) for rows in parts]
    scored = Scores(videos, score, np.concatenate(seen), smoothing.look_ahead(smooth, options.smooth_width))
    return Record(scored, logit.astype(np.float32), layer, key, None)


def write_asked(args: Namespace, watching: Watch) -> None:
    """Write the scores and the page, where they are asked for. Raises OSError."""
    out_dir = Path(args.out_dir)
    if args.save_scores and (record := record_of(watching)):
        scores_file.write_record(out_dir / "scores.npz", record)
    if args.report:
        rule = watching.raising.rule
        path = report.write(out_dir, watching.journal, report.streams_of(watching), rule and rule.on)
        print(f"report in {path}")


def summed_up(watching: Watch) -> str:
    """`9 files are watched, 3 alarms`: of files what there is in all, of live cameras what came in this watch."""
    files, live = ([w for w in watching.watched.values() if w.camera.live == kind] for kind in (False, True))
    streams = {watched.stream for watched in files}
    alarms = [raised for raised in watching.journal.alarms() if raised.alarm.camera in watching.watched]
    n = sum(1 for of in alarms if of.alarm.stream in streams or (of.raised_at >= watching.began and of.alarm.wall_start))
    done = sum(1 for watched in files if watched.over and not watched.failed)
    parts = [f"{done} of {len(files)} files are watched"] if files else []
    return ", ".join([*parts, *([f"{len(live)} cameras"] if live else []), f"{n} alarms"])


def require_watched(watching: Watch) -> None:
    """Raise ValueError that names the sources that failed, if there are such."""
    failed = [f"{name}: {watched.failed}" for name, watched in watching.watched.items() if watched.failed]
    if failed:
        raise ValueError(several(f"{len(failed)} of {len(watching.watched)} sources failed; the others are watched", failed))


def prepared_folder(out_dir: str) -> Path:
    """The folder of a watch, made where it is not there. Raises OSError."""
    path = Path(out_dir)
    folder.require_writable([path / "events.db"])
    (path / "alarms").mkdir(parents=True, exist_ok=True)
    return path
