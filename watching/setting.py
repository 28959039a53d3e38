"""From the options of a watch to all that it needs: the model, the encoder that it was trained with, the rule of its alarms."""

import hashlib
import math
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lshma
from evaluation import scores_file, smoothing
from evaluation.scores import Record, Scores
from files import folder, origin
from files.features import FRAMES_PER_SNIPPET
from files.lists import several
from files.videos import Video
from option import TESTING, Range, flag_of
from video import as_trained, feature_folder
from video.decode import opened
from video.encoders import Encoder
from video.flags import HOW, OF_EXTRACTION, OF_WATCHING, RATE
from video.snippets import places_of
from watching import report
from watching.alarms import Rule
from watching.brought import How
from watching.cameras import Camera
from watching.engine import Watch
from watching.journal import Journal
from watching.keeping import Keeping
from watching.readers import OPENING, told
from watching.roster import Roster

CALIBRATING = ("by", "snippet_seconds", "off_share", "least", "pause", "false_alarms")  # flags of a watch that it heeds


class Setting(NamedTuple):
    """All that a watch is made of, but its cameras."""

    detector: lshma.Detector
    encoder: Encoder
    how: How
    rule: Rule | None
    model: str  # what scores depend on, as a digest

    def seconds_at(self, fps: float | None) -> float:
        """Of a snippet of a file at this rate; of what has none, and by time, as of a live source."""
        return FRAMES_PER_SNIPPET / fps if fps and self.how.by == "frames" else self.how.snippet_seconds

    def watch(self, cameras: Sequence[Camera], journal: Journal, pictures: Path, **how: Any) -> Watch:
        """how: as Watch takes it."""
        what = (self.encoder, cameras, self.detector, self.how, journal, self.rule)
        watching = Watch(*what, model=self.model, pictures=pictures, **how)
        note_before(watching)
        return watching


def note_before(watching: Keeping) -> None:
    """Say what an earlier watch here was told otherwise, if there was one."""
    if watching.before:
        print(f"note: {watching.journal.path} is of a watch with {otherwise(watching.before)}")


def otherwise(before: Mapping[str, Any]) -> str:
    """What an earlier watch was told otherwise, and what follows: `threshold 0.9; files are watched again, ...`"""
    others = {"model": "another model or options of it", "snippets": "other snippets"}
    rule = {name: value for name, value in before.items() if name not in others}
    said = [f"{name} {value:.4g}" for name, value in rule.items() if value is not None] or ["no alarms"] * bool(rule)
    said += [what for name, what in others.items() if name in before]
    live = "begin anew" if before.keys() & others.keys() else "go on"
    return f"{', '.join(said)}; files not watched like this are watched again, live cameras {live}"


def prepare(args: Namespace) -> Setting:
    """Load what the options name, and fill in what the checkpoint says. Raises ValueError or OSError."""
    if args.model_path is None:
        raise ValueError("--model-path is missing: give a checkpoint of ours (runs/.../best.pt) or the authors'")
    device = args.device or "auto"
    changed = {name: value for name in TESTING if (value := getattr(args, name, None)) is not None}
    exact = {"precision": "fp32"}  # a clip at a time, nothing is gained by less
    detector = lshma.load(args.model_path, device=device, **exact | changed)
    if said := scored_otherwise(detector):
        print(f"note: {args.model_path}: {said}; scores may differ from its tests'")
    trained = features_of(detector, args.model_path)
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


def scored_otherwise(detector: lshma.Detector) -> str:
    """In what a watch differs from how the checkpoint's options say to score; empty where in nothing."""
    options, trained = detector.options, detector.trained
    said = ["in fp32, not bf16"] if trained.get("precision", "fp32") != options.precision == "fp32" else []
    said += [f"smoothed as causal, not {options.smooth}"] if options.smooth not in ("causal", "none") else []
    said += ["of the centre crop alone, not the mean of all"] if trained.get("crops") == "mean" else []
    said += ["of all snippets, none dropped"] if trained.get("drop_snippets") else []
    return f"scored here {'; '.join(said)}" if said else ""


def features_of(detector: lshma.Detector, path: str) -> Mapping[str, Any]:
    """How the features of the model's training were made, as far as it is known. Raises ValueError where that cannot be."""
    made = detector.trained.get("features") or {}
    if made and not (isinstance(made, Mapping) and set(origin.SAME) <= made.keys()):
        raise ValueError(f"{path}: what it says of its features is not extract.py's; use another checkpoint")
    for flag in (*HOW, *OF_EXTRACTION):
        value = made.get(flag.name) if flag.name in origin.SAME else None
        if value is not None and flag.values and value not in flag.values:
            raise ValueError(f"{path}: its features' {flag.name} must be {flag.values}, not {value!r}; use another checkpoint")
    return made


def rule_of(args: Namespace, detector: lshma.Detector, seconds: float) -> Rule:
    """The rule of alarms. Raises ValueError where nothing says the threshold."""
    on = args.threshold if args.threshold is not None else detector.video_threshold
    if on is None:
        raise ValueError(
            f"{args.model_path} has no threshold, since it was trained without --val-share: give --threshold, find one with "
            "`python watch.py calibrate NORMAL_VIDEOS`, or pass --no-alarms"
        )
    if on not in Range(0, 1, open="("):  # of a file
        raise ValueError(f"{args.model_path}: its threshold is {on!r}, expected one above 0, at most 1; give --threshold")
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
            failed.append(f"{camera.name}: {camera.explained(str(error))}")
    yield from in_words(made)
    if failed:
        raise ValueError("\n  ".join([f"{len(failed)} of {len(cameras)} sources cannot be opened:", *failed]))


def in_words(made: Setting) -> Iterator[str]:
    """What cameras are watched by: snippets, encoder, threshold."""
    how, rule = made.how, made.rule
    files = "16 frames" if how.by == "frames" else f"{how.snippet_seconds:.3g} s"
    n_frames = len(how.places)
    yield f"a snippet is {files} of a file, {how.snippet_seconds:.3g} s of a live source; frames of it encoded: {n_frames}"
    yield f"encoder {made.encoder.name}; " + (f"alarms on at {rule.on:.4g}, off below {rule.off:.4g}" if rule else "no alarms")


def record_of(watching: Roster) -> Record | None:
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


def write_asked(args: Namespace, watching: Roster) -> None:
    """Write the scores and the page, where they are asked for. Raises OSError."""
    out_dir = Path(args.out_dir)
    if args.save_scores and (record := record_of(watching)):
        scores_file.write_record(out_dir / "scores.npz", record)
    if args.report:
        rule = watching.raising.rule
        path = report.write(out_dir, watching.journal, report.streams_of(watching), rule and rule.on)
        print(f"report in {path}")


def summed_up(watching: Roster) -> str:
    """`9 files are watched, 3 alarms`: of files what there is in all, of live cameras what came in this watch."""
    files, live = ([w for w in watching.watched.values() if w.camera.live == kind] for kind in (False, True))
    streams = {watched.stream for watched in files}
    alarms = [raised for raised in watching.journal.alarms() if raised.alarm.camera in watching.watched]
    n = sum(1 for of in alarms if of.alarm.stream in streams or (of.raised_at >= watching.began and of.alarm.wall_start))
    done = sum(1 for watched in files if watched.over and not watched.failed)
    parts = [f"{done} of {len(files)} files are watched"] if files else []
    parts += [report.counted(len(live), "camera")] if live else []
    parts += [f"never opened: {', '.join(lost)}"] if (lost := never_opened(watching)) else []
    return ", ".join([*parts, report.counted(n, "alarm"), *watching.left_unsent])


def never_opened(watching: Roster) -> list[str]:
    """The live cameras of which not one snippet has come, now or before."""
    return [name for name, watched in watching.watched.items() if watched.camera.live and not watched.stream]


def require_watched(watching: Roster) -> None:
    """Raise ValueError that names the sources that failed, or never opened, if there are such."""
    failed = [f"{name}: {watched.failed}" for name, watched in watching.watched.items() if watched.failed]
    failed += [f"{name}: never opened" for name in never_opened(watching)]
    if failed:
        others = "; the others are watched" if len(failed) < len(watching.watched) else ""
        raise ValueError(several(f"{len(failed)} of {len(watching.watched)} sources failed{others}", failed))


def folder_of(args: Namespace) -> Path:
    """The folder of a watch, which can be written. Raises ValueError or OSError where it is a run's, or has others' files."""
    if not args.out_dir:
        raise ValueError("--out-dir is empty: name a folder, or leave it out")
    path = Path(args.out_dir)
    folder.require_free(path, replaceable=False)
    asked = {"scores.npz": args.save_scores, "report.html": args.report}
    written = [path / "events.db", *(path / name for name, wanted in asked.items() if wanted)]
    folder.require_new(written, written if (path / "events.db").is_file() else ())
    if (path / "events.db").is_file() and (path / "groups").is_dir() != bool(args.ray):
        how = "without --ray" if args.ray else "in groups, by --ray"
        raise ValueError(f"--out-dir {path} is of a watch {how}, and goes on so alone; choose another one")
    if os.path.lexists(path / "alarms") and not (path / "alarms").is_dir():
        raise OSError(f"{path / 'alarms'} is no folder, and pictures are to be there; choose another --out-dir")
    return path


def require_used(args: Namespace, calibrating: bool) -> None:
    """Raise ValueError that names the flags which would be ignored."""
    ignored = {flag.name for flag in OF_WATCHING} - set(CALIBRATING) if calibrating else {"false_alarms"}
    ignored |= set() if args.alarms else {"threshold", "off_share", "least", "pause"}
    given = [flag.name for flag in OF_WATCHING if flag.name in ignored and getattr(args, flag.name) != flag.default]
    if given:
        why = "calibrate" if calibrating else "a watch" + ("" if args.alarms else " with --no-alarms")
        raise ValueError(f"{', '.join(map(flag_of, given))} would be ignored by {why}; leave that out")
