"""From the options of a watch to all that it needs: the model, the encoder that it was trained with, the rule of its alarms."""

import hashlib
import math
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lshma
from files import folder, origin
from files.features import FRAMES_PER_SNIPPET
from option import TESTING, Range, flag_of
from video import as_trained, feature_folder
from video.decode import opened
from video.snippets import places_of
from watching.alarms import Rule
from watching.brought import How
from watching.cameras import Camera
from watching.flags import OF_WATCHING
from watching.keeping import Keeping, Setting
from watching.readers import OPENING, told

UNITS = dict.fromkeys(("least", "pause"), " snippets")  # of a rule's numbers
CALIBRATING = ("by", "snippet_seconds", "off_share", "least", "pause", "false_alarms")  # flags of a watch that it heeds


def note_before(watching: Keeping) -> None:
    """Say what an earlier watch here was told otherwise, if there was one."""
    if watching.before:
        print(f"note: {watching.journal.path} is of a watch with {otherwise(watching.before)}")


def otherwise(before: Mapping[str, Any]) -> str:
    """What an earlier watch was told otherwise, and what follows: `threshold 0.9; files are watched again, ...`"""
    others = {"model": "another model or options of it", "snippets": "other snippets"}
    rule = {name: value for name, value in before.items() if name not in others}
    said = [f"{name} {value:.4g}{UNITS.get(name, '')}" for name, value in rule.items() if value is not None]
    said = said or ["no alarms"] * bool(rule)
    said += [what for name, what in others.items() if name in before]
    live = "begin anew" if before.keys() & others.keys() else "go on"
    return f"{', '.join(said)}; files not watched like this are watched again, live cameras {live}"


def prepare(args: Namespace) -> Setting:
    """Load what the options name, and fill in what the checkpoint says. Raises ValueError or OSError."""
    device = args.device or "auto"
    changed = {name: value for name in TESTING if (value := getattr(args, name, None)) is not None}
    exact = {"precision": "fp32"}  # a clip at a time, nothing is gained by less
    detector = lshma.load(args.model_path, device=device, **exact | changed)
    if said := scored_otherwise(detector):
        print(f"note: {args.model_path}: {said}; scores may differ from its tests'")
    trained = detector.trained.get("features") or {}
    as_trained.fill_in(args, trained)
    by = args.by or trained.get("by", "frames")
    fps = FRAMES_PER_SNIPPET / args.snippet_seconds if args.snippet_seconds else trained.get("fps") or detector.options.fps
    encoder = as_trained.encoder_for(args, device, detector.options.visual_width)
    made = feature_folder.origin_of(Namespace(**vars(args) | {"by": by, "fps": fps, "crops": 1}), encoder)
    what = {"checkpoint": args.model_path, "what": "the features made here"}
    origin.require_alike(detector.trained.get("features"), made, **what, allowed=bool(args.allow_other_features))
    seconds = FRAMES_PER_SNIPPET / fps
    how = How(places_of(args.rule, args.frames_per_snippet), by, fps, seconds, args.forget_after)
    file = hashlib.sha256(Path(args.model_path).read_bytes()).hexdigest()
    model = repr([file, how_scored(detector), encoder.name, encoder.digest])
    rule = rule_of(args, detector, seconds) if args.alarms else None
    return Setting(detector, encoder, how, rule, hashlib.sha256(model.encode()).hexdigest())


def how_scored(detector: lshma.Detector) -> list[tuple[str, Any]]:
    """The options, beside the checkpoint's file, that scores of a watch depend on."""
    options = vars(detector.options) | {"smooth": smoothed(detector)}
    return [(name, options[name]) for name in TESTING if name not in (*lshma.OF_FILES, "smooth_pad")]


def smoothed(detector: lshma.Detector) -> str:
    """How scores of a watch are smoothed: never ahead."""
    return "none" if detector.options.smooth == "none" else "causal"


def scored_otherwise(detector: lshma.Detector) -> str:
    """In what a watch differs from how the checkpoint's options say to score; empty where in nothing."""
    options, trained = detector.options, detector.trained
    said = ["in fp32, not bf16"] if trained.get("precision", "fp32") != options.precision == "fp32" else []
    said += [f"smoothed as causal, not {options.smooth}"] if options.smooth != smoothed(detector) else []
    said += ["of the centre crop alone, not the mean of all"] if trained.get("crops") == "mean" else []
    said += ["of all snippets, none dropped"] if trained.get("drop_snippets") else []
    return f"scored here {'; '.join(said)}" if said else ""


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
