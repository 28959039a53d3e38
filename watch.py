"""Watch videos and cameras: scores as they come, and alarms.

    python watch.py SOURCE ... --model-path CHECKPOINT
    python watch.py SOURCE ... --model-path CHECKPOINT --ray HEAD:6379
    python watch.py calibrate NORMAL_VIDEOS ... --model-path CHECKPOINT --false-alarms 1

A SOURCE is a video, a folder of them, a webcam (0, /dev/video0), an address (rtsp://, http://, ...), or a CSV file name,source.
Alarms are printed, and kept with scores in events.db in --out-dir, their pictures and clips in alarms/ there. Killed and
started again, it goes on. With --ray groups of cameras are watched on the machines of a Ray cluster, which share all folders;
what a lost machine has watched goes on elsewhere. The last form finds the threshold that raises so many false alarms an hour of
normal footage. Needs requirements-video.txt; --serve, --webhook and --mqtt requirements-serve.txt; --ray requirements-ray.txt.
"""

import sys
import tempfile
import threading
from argparse import Namespace
from contextlib import ExitStack, redirect_stdout
from functools import partial
from pathlib import Path

from files import atomic
from files.interrupt import SIGNALS
from option import Parser, add_flags, require, unset
from running import cluster
from running.command import exit_codes
from serving import giving
from video.flags import HOW
from watching import calibration, ending, group, journal, printing, setting, telling
from watching.cameras import Sources, cameras_of
from watching.engine import Watch
from watching.flags import OF_MODEL, OF_WATCHING
from watching.spread import Spread

ASKED = unset((*OF_MODEL, *HOW))
parser = Parser(
    "Watch videos and cameras: scores as they come, and alarms; `calibrate NORMAL_VIDEOS` finds a threshold. None = as "
    "the checkpoint says, or extract.py's default."
)
parser.add_argument("sources", nargs="+", metavar="SOURCE", help="videos, folders of them, webcams (0, /dev/video0), "
                    "addresses (rtsp://, http://), and lists: CSV files name,source")  # fmt: skip
add_flags(parser.add_argument, [*ASKED, *OF_WATCHING])


def main() -> None:
    calibrating = sys.argv[1:2] == ["calibrate"]
    parser.prog += " calibrate" * calibrating
    args = parser.parse_args(sys.argv[2:] if calibrating else None)
    with printing.unwaiting(), exit_codes():
        require(args, [*ASKED, *OF_WATCHING])
        setting.require_used(args, calibrating)
        calibrate(args) if calibrating else watch(args)


def watch(args: Namespace) -> None:
    """Watch until files have ended, or somebody stops it. Raises ValueError or OSError before anything is watched."""
    group.require_used(args)
    with ExitStack() as stack:
        tell = partial(telling.print_json, out=sys.stdout) if args.json else telling.print_words
        if args.json:  # a program reads there
            stack.enter_context(redirect_stdout(sys.stderr))
        stack.enter_context(SIGNALS)
        sources, out_dir, given = Sources(args.sources), setting.folder_of(args), giving.asked(args)
        page, sinks = stack.enter_context(giving.server(given)), giving.sinks(given, out_dir)
        ray = stack.enter_context(cluster.connected(args.ray)) if args.ray else None
        if ray:
            n_groups = group.number_of(ray, args)
            print(f"to be watched in {telling.counted(n_groups, 'group')}, on the machines of the cluster at {args.ray}")
        made = setting.prepare(args)
        if args.dry_run:
            for line in setting.described(made, sources.cameras):
                print(line)
            return
        print(*setting.in_words(made), sep="\n")
        (out_dir / "groups" if ray else out_dir).mkdir(parents=True, exist_ok=True)
        db = stack.enter_context(journal.opened(out_dir / "events.db"))
        others = {"announce": tell, "sinks": sinks, "edited": sources.edited, "stays": page is not None}
        others["keep_days"] = args.keep_days
        if ray:
            watching = Spread(ray, args, made, sources.cameras, db, out_dir / "alarms", n_groups=n_groups, **others)
        else:
            atomic.sweep(out_dir / "alarms")
            watching = Watch(made, sources.cameras, db, out_dir / "alarms", **others)
        setting.note_before(watching)
        if page:
            page.start(watching)
            stack.callback(page.stop)  # before Ray, which it asks for pictures
            print(f"page: {page.url}{page.note}")
        if args.duration:
            timer = threading.Timer(min(args.duration, threading.TIMEOUT_MAX), watching.stopped.set)
            stack.callback(timer.cancel)
            timer.start()
        try:
            watching.run()
        except KeyboardInterrupt:
            ending.write_asked(args, watching)
            raise KeyboardInterrupt(f"stopped: {ending.summed_up(watching)}; the same command goes on from here") from None
        ending.write_asked(args, watching)
        print(f"{ending.summed_up(watching)}; events.db, their pictures and clips in {out_dir}")
        ending.require_watched(watching)


def calibrate(args: Namespace) -> None:
    """Find and print the threshold for --false-alarms, from the videos given. Raises ValueError or OSError."""
    cameras = cameras_of(args.sources)
    if live := [camera.shown for camera in cameras if camera.live]:
        raise ValueError(f"{live[0]}: calibrate takes videos of normal footage; record some of this camera")
    args.alarms = False
    made = setting.prepare(args)
    with tempfile.TemporaryDirectory() as there, journal.opened(Path(there, "events.db")) as db, SIGNALS:
        watching = Watch(made, cameras, db, Path(there), announce=telling.print_failures)
        watching.run()
        scores = [db.scores(name, watched.stream).score for name, watched in watching.watched.items()]
        rates = {stream.id: stream.fps for stream in db.streams()}
        seconds = [made.seconds_at(rates.get(watched.stream)) for watched in watching.watched.values()]
    if not any(map(len, scores)):
        ending.require_watched(watching)  # says why
    shape = setting.shape_of(args, made.how.snippet_seconds)
    found = calibration.calibrate(scores, seconds, rate=args.false_alarms, **shape)
    print(found.in_words())
    print(f"watch with it: --threshold {found.rule.on!r}")
    ending.require_watched(watching)


if __name__ == "__main__":
    main()
