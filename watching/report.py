"""The page of a watch, report.html: its alarms with their pictures, each camera's scores over time, and what happened.

It is of the kind of a test's report and needs no network; clips are linked where they lie. Times of files are those in them,
of live cameras the wall's.
"""

import base64
import html
import io
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from PIL import Image

from evaluation import page, smoothing, timeline
from evaluation.figures import clock
from files import atomic
from watching.journal import Journal, Raised, opened, storable
from watching.roster import Roster
from watching.steps import MOST_STEPS, Curves, curves_of
from watching.telling import counted, moment

MOST_PICTURES, SMALL = 500, 320  # in the page, and pixels of their longer side
MOST_TOLD = 500  # happenings
ORDERS = {"highest": "highest score first", "alarms": "most alarms first"} | page.ORDERS


class Card(NamedTuple):
    """A camera as the journal knows it."""

    id: str
    name: str
    live: bool
    began: float  # of the first score: unix seconds, or seconds of the file
    curves: Curves | None  # None = no scores
    n_snippets: int
    alarms: list[Raised]
    happened: list[tuple[str, float, str, str]]

    @property
    def highest(self) -> float:
        return float(self.curves.scores.max()) if self.curves else 0.0

    def moment(self, seconds: float) -> str:
        """So many seconds after the first score."""
        return time.strftime("%H:%M:%S", time.localtime(self.began + seconds)) if self.live else clock(self.began + seconds)


def streams_of(watching: Roster) -> dict[str, str | None]:
    """What `write` takes of a watch that has just ended."""
    return {name: None if watched.camera.live else watched.stream for name, watched in watching.watched.items()}


def write_again(folder: Path, out_dir: Path) -> Path:
    """Write the page of the folder of an earlier watch, as its events.db knows it. Raises ValueError or OSError."""
    with opened(folder / "events.db") as journal:
        every = {name: None for (name,) in journal.read("SELECT name FROM cameras ORDER BY rowid")}  # never opened ones too
        latest = {stream.camera: None if stream.began is not None else stream.id for stream in journal.streams()}
        return write(folder, journal, every | latest, journal.settings().get("threshold"), out_dir)


def write(
    folder: Path,
    journal: Journal,
    watched: Mapping[str, str | None],
    threshold: float | None = None,
    out_dir: Path | None = None,
) -> Path:
    """Write `report.html` of a watch whose alarms' pictures are in `folder`/alarms; returns its path.

    watched: the names of cameras, and of a file the stream, of a live camera None: all of its streams. threshold: of the
    alarms, if it is known. out_dir: where the page goes, None = `folder`.
    """
    out_dir = folder if out_dir is None else out_dir
    known, happened, alarms = journal.streams(), journal.happenings(), journal.alarms()
    cameras = []
    for i, (name, stream) in enumerate(watched.items()):
        name = storable(name)
        of_camera = [one for one in known if one.camera == name and stream in (None, one.id)]
        raised = [one for one in alarms if one.alarm.camera == name and stream in (None, one.alarm.stream)]
        told = [what for what in happened if what[0] == name]
        began, n_snippets, curves = curves_of(journal, of_camera, live=stream is None)
        cameras.append(Card(f"c{i}", name, stream is None, began, curves, n_snippets, raised, told))
    out_dir.mkdir(parents=True, exist_ok=True)
    atomic.write_text(out_dir / "report.html", page_of(folder, out_dir, cameras, threshold))
    return out_dir / "report.html"


def page_of(folder: Path, out_dir: Path, cameras: Sequence[Card], threshold: float | None) -> str:
    """The whole page."""
    cameras = sorted(cameras, key=lambda camera: -camera.highest)
    raised = sorted(((one, camera) for camera in cameras for one in camera.alarms), key=lambda of: -of[0].raised_at)
    n_layers = max((int(camera.curves.exit_layer.max()) for camera in cameras if camera.curves), default=0)
    alarms = "".join(alarm_of(one, camera, folder, out_dir, i < MOST_PICTURES) for i, (one, camera) in enumerate(raised))
    n_snippets = sum(camera.n_snippets for camera in cameras)
    return page.framed(
        name=html.escape(f"Watch in {storable(str(folder))}"),
        what=f"{counted(len(cameras), 'camera')}, {counted(len(raised), 'alarm')}, {counted(n_snippets, 'scored snippet')}; "
        "no ground truth: scores alone",
        unit="cameras",
        hint="name",
        before="",
        between=f"<h2>Alarms, newest first</h2>{f'<div id=alarms>{alarms}</div>' if raised else '<p>None.</p>'}"
        f'<h2>Cameras, highest score first</h2><p class="legend">{legend(n_layers, threshold)}</p>',
        orders=ORDERS,
        links="".join(f'<a href="#{camera.id}">{html.escape(camera.name)}</a>' for camera in cameras),
        cards="".join(card_of(camera, n_layers, threshold) for camera in cameras),
        after=f"<h2>What happened, newest first</h2>{told_of(cameras)}",
    )


def alarm_of(raised: Raised, camera: Card, folder: Path, out_dir: Path, with_picture: bool) -> str:
    """An alarm of the list."""
    alarm, name = raised.alarm, html.escape(camera.name)
    files = [folder / "alarms" / Path(of).name if of else None for of in (raised.picture, raised.clip)]
    picture = small(files[0]) if with_picture and files[0] else None
    peak = moment(alarm.peak, alarm.wall_peak)
    shown = "<p>no picture</p>" if with_picture else "<p>an older alarm: no picture here</p>"
    if picture:
        shown = f'<img alt="{name} at {peak}" src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}">'
    if files[1] and files[1].is_file():
        address = html.escape(quote(os.path.relpath(files[1], out_dir)), quote=True)
        shown = f'<a href="{address}">{shown}play the clip</a>'
    layer = f", exit layer {alarm.exit_layer}" if alarm.exit_layer else ""  # a model without layers stops at 0
    lasted = "lasts" if alarm.end is None else f"{alarm.end - alarm.start:.1f} s"
    return (
        f'<article id="{alarm.id}" data-text="{html.escape(camera.name.lower(), quote=True)}"><header>'
        f'<b title="{name}"><a href="#{camera.id}">{name}</a></b><span>score {alarm.score:.2f}</span></header>{shown}'
        f"<p>since {moment(alarm.start, alarm.wall_start)}, {lasted}; peak {alarm.score:.2f} at {peak}{layer}<br>"
        f"raised {moment(0, raised.raised_at)}</p></article>"
    )


def small(path: Path) -> bytes | None:
    """A picture as a small JPEG; None where it is gone, or none."""
    written = io.BytesIO()
    try:
        with Image.open(path) as picture:
            picture.thumbnail((SMALL, SMALL))
            picture.convert("RGB").save(written, "JPEG", quality=75)
    except (OSError, ValueError, SyntaxError):  # what Pillow raises of damaged files
        return None
    return written.getvalue()


def card_of(camera: Card, n_layers: int, threshold: float | None) -> str:
    """A camera's scores over time, its alarms shaded, and how often what happened."""
    name, text = html.escape(camera.name), html.escape(camera.name.lower(), quote=True)
    said = [counted(len(camera.alarms), "alarm")]
    drawn, length = "<p>no scores</p>", 0.0
    if curves := camera.curves:
        length = float(curves.ends[-1])
        said += [f"highest {camera.highest:.2f}", moment(0, camera.began)[:10] if camera.live else f"{length:.1f} s"]
        starts, ends = curves.starts, curves.ends
        raw = smoothing.sigmoid(curves.logits)
        paths = [(kind, timeline.steps(of, starts, ends)) for kind, of in (("raw", raw), ("smooth", curves.scores))]
        drawn = (
            timeline.plot(length, paths, threshold, "".join(span_of(one, camera, length) for one in camera.alarms))
            + timeline.bands(curves.key, curves.exit_layer, starts, ends, n_layers=n_layers)
            + timeline.times(camera.moment(length * share) for share in (0, 0.25, 0.5, 0.75, 1))
        )
    counts = ", ".join(f"{n} {kind}" for kind, n in Counter(kind for *_, kind, _ in camera.happened).items())
    return (
        f'<article id="{camera.id}" data-text="{text}" data-length="{length:.2f}" data-alarms="{len(camera.alarms)}" '
        f'data-highest="{camera.highest:.4f}"><header><b title="{name}">{name}</b><span>{", ".join(said)}</span></header>'
        f"{drawn}<header><span>{html.escape(counts)}</span></header></article>"
    )


def span_of(raised: Raised, camera: Card, length: float) -> str:
    """An alarm on its camera's timeline, linked to the list; nothing where the scores do not reach."""
    alarm = raised.alarm
    ends = (alarm.wall_start, alarm.wall_end) if camera.live else (alarm.start, alarm.end)
    start, end = (length if at is None else min(max(at - camera.began, 0.0), length) for at in ends)
    if end <= 0 or start >= length:
        return ""
    what = f"alarm, score {alarm.score:.2f} at {moment(alarm.peak, alarm.wall_peak)}"
    rect = f'<rect class="alarm" x="{start:.2f}" y="0" width="{end - start:.2f}" height="100"><title>{what}</title></rect>'
    return f'<a href="#{alarm.id}" aria-label="{what}">{rect}</a>'


def told_of(cameras: Sequence[Card]) -> str:
    """The table of what happened to the cameras."""
    told = sorted((what for camera in cameras for what in camera.happened), key=lambda what: -what[1])
    rows = "".join(
        f'<tr data-text="{html.escape(name.lower(), quote=True)}"><td>{moment(0, wall)}</td><td>{html.escape(name)}</td>'
        f'<td>{html.escape(kind)}</td><td class="text">{html.escape(text)}</td></tr>'
        for name, wall, kind, text in told[:MOST_TOLD]
    )
    older = f"<p>{len(told) - MOST_TOLD:,} older ones are in events.db.</p>" if len(told) > MOST_TOLD else ""
    return f'<div class="wide"><table id="happened"><tbody>{rows}</tbody></table></div>{older}' if told else "<p>Nothing.</p>"


def legend(n_layers: int, threshold: float | None) -> str:
    """What the timelines' colours mean."""
    entries = [("var(--blue)", "score"), ("var(--alarm)", "alarm"), ("#999", "the model's score, not smoothed")]
    dashed = "" if threshold is None else f" Dashed: the threshold, {threshold:.3f}."
    return (
        f"{timeline.swatches(entries, n_layers)}<br>{timeline.of_bars(n_layers)}{dashed} Times of files in "
        f"minutes:seconds, of live cameras this machine's. Of more than {MOST_STEPS:,} snippets, several share a step: their "
        f"highest score{', and last layer' if n_layers else ''}."
    )
