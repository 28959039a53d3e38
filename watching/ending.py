"""What a watch leaves when it ends, beside events.db: scores and a page where they are asked for, and its sum in words."""

from argparse import Namespace
from pathlib import Path

import numpy as np

from evaluation import scores_file, smoothing
from evaluation.scores import Record, Scores
from files.features import FRAMES_PER_SNIPPET
from files.lists import several
from files.videos import Video
from watching import report
from watching.roster import Roster
from watching.telling import counted


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
    parts += [counted(len(live), "camera")] if live else []
    parts += [f"never opened: {', '.join(lost)}"] if (lost := never_opened(watching)) else []
    return ", ".join([*parts, counted(n, "alarm"), *watching.left_unsent])


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
