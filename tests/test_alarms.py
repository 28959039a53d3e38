"""Alarms and where they are kept: one an event, whatever comes in between; events.db holds whole turns."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from evaluation.smoothing import sigmoid
from watching import evidence, journal
from watching.alarms import Alarm, Rule, Seen, State, advance, finish
from watching.calibration import calibrate
from watching.journal import Row

RULE = Rule(on=0.8, off=0.5, least=2, pause=3)


def snippets(scores, wall=None):
    return [Seen(i, i / 2, (i + 1) / 2, wall and wall + i / 2, score, 1 + i % 3) for i, score in enumerate(scores)]


def watched(scores, rule=RULE, wall=None):
    """All that is let know: (number, alarm) each, and what is when the stream ends."""
    state, news = State(), []
    for seen in snippets(scores, wall):
        state, new = advance(state, seen, rule, "door", "s")
        news += [(seen.number, alarm) for alarm in new]
    return news, finish(state)


def test_an_alarm_begins_when_it_is_long_enough_rises_and_ends_after_its_pause():
    news, last = watched([0.1, 0.6, 0.8, 0.7, 0.9, 0.6, 0.2, 0.9, 0.4, 0.4, 0.4, 0.1], wall=1000.0)
    assert [number for number, _ in news] == [3, 4, 10] and not last
    begun, risen, ended = (alarm for _, alarm in news)
    assert begun == Alarm("door", "s", 2, 1.0, 1.0, None, 1001.0, 1001.0, None, 0.8, 3)
    assert risen == begun._replace(peak=2.0, wall_peak=1002.0, score=0.9, exit_layer=2)
    assert ended == risen._replace(end=4.0, wall_end=1004.0), "its end is that of the last snippet that scored off or more"
    assert begun.id == ended.id and len(begun.id) == 16
    others = (begun._replace(camera="gate"), begun._replace(stream="t"), begun._replace(first=3))
    assert len({begun.id, *(other.id for other in others)}) == 4


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.9, 0.4, 0.9, 0.4, 0.9], []),  # never long enough
        ([0.7, 0.7, 0.7], []),  # never on
        ([0.9, 0.5], [(0, None)]),  # off is not below off; it lasts
        ([0.9, 0.9, 0.4, 0.4, 0.6, 0.4, 0.4, 0.4], [(0, 2.5)]),  # what rises within the pause, if only to off, is the same
        ([0.9, 0.9, 0.4, 0.4, 0.4, 0.9, 0.9, 0.1, 0.1, 0.1], [(0, 1.0), (5, 3.5)]),
    ],
)
def test_one_alarm_an_event(scores, expected):
    news, last = watched(scores)
    known = {alarm.id: alarm for _, alarm in news}
    assert [(alarm.first, alarm.end) for alarm in known.values()] == expected
    assert [alarm.end for alarm in last] == [len(scores) / 2 for _, end in expected if end is None]
    assert Rule.at(0.5, 0.5, 2, 3) == (0.5, 1 / 3, 2, 3) and Rule.at(1.0, 0.5, 2, 3).off == 1.0
    assert 1 - Rule.at(1 - 1e-12, 0.5, 2, 3).off == pytest.approx(2e-12, rel=1e-3)
    for wrong in (
        RULE._replace(off=0.9),
        RULE._replace(on=1.1),
        RULE._replace(off=0.0),
        RULE._replace(least=0),
        RULE._replace(pause=0),
    ):
        with pytest.raises(ValueError, match="expected"):
            wrong.checked()


def events_of(scores, rule):
    """First, last, peak of the alarms by what the rule says, looked up in the whole stream at once."""
    found, i = [], 0
    while i < len(scores):
        if scores[i] < rule.on:
            i += 1
            continue
        below = [score < rule.off for score in scores[i:]]
        quiet = (j for j in range(len(below)) if all(below[j : j + rule.pause]) and j + rule.pause <= len(below))
        length = next(quiet, len(below))
        if any(below[: rule.least]) or len(below) < rule.least:
            i += below.index(True) if any(below) else len(below)
            continue
        last = i + max(j for j in range(length) if not below[j])
        found.append((i, last, max(range(i, last + 1), key=lambda n: scores[n])))
        i = last + 1
    return found


@settings(max_examples=150)
@given(
    st.lists(st.sampled_from([0.0, 0.4, 0.5, 0.6, 0.8, 0.85, 0.9, 1.0]), max_size=40),
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([0.5, 0.8]),
)
def test_alarms_are_what_the_rule_says_and_survive_being_kept_at_any_snippet(scores, least, pause, off):
    rule = Rule(0.8, off, least, pause)
    state, known = State(), {}
    for seen in snippets(scores):
        state, news = advance(state, seen, rule, "door", "s")
        assert len(news) <= 1
        known |= {alarm.id: alarm for alarm in news}
        state = State.from_json(json.loads(json.dumps(state.to_json())))
    known |= {alarm.id: alarm for alarm in finish(state)}
    expected = [(first, first / 2, peak / 2, (last + 1) / 2, scores[peak]) for first, last, peak in events_of(scores, rule)]
    assert [(a.first, a.start, a.peak, a.end, a.score) for a in known.values()] == expected


ALARM = Alarm("door", "s", 4, 2.0, 2.5, None, None, None, None, 0.9, 2)


def rows(first, n, wall=None):
    return [Row(i, i / 2, None if wall is None else wall + i / 2, 0.5, -1.5, 1, i % 2 == 0) for i in range(first, first + n)]


def test_what_is_written_twice_is_there_once_and_comes_back_to_the_bit(tmp_path):
    values = {
        "last": np.array([1.5, np.nan], np.float32),
        "empty": np.zeros((0, 3)),
        "n": np.int64(3),
        "alarms": State().to_json(),
    }
    for again in range(2):
        with journal.opened(tmp_path / "events.db") as events:
            with events.turn():
                events.camera("door", "rtsp://***@host/x")
                events.stream("s", "door", fps=30.0, width=320, height=240)
                events.stream("s", "door", frames=99)
                events.score_rows("door", "s", rows(0, 5))
                events.score_rows("door", "s", rows(3, 4))
                events.alarm(ALARM, raised_at=7.0 + again)
                events.alarm(ALARM._replace(end=4.0), raised_at=9.0, picture="a.jpg")
                events.alarm(ALARM._replace(end=4.0), raised_at=9.0, clip="a.mp4")
                events.happened("door", 5.0, "opened")
                events.state("door", "s", 11, values)
            with events.turn():
                assert events.alarms() == [journal.Raised(ALARM._replace(end=4.0), 7.0, "a.jpg", "a.mp4")]
                assert events.streams() == [journal.Stream("s", "door", None, 30.0, 320, 240, 99, False)]
                assert events.happenings() == [("door", 5.0, "opened", "")]
                scores = events.scores("door", "s")
                assert scores.number.tolist() == list(range(7)) and np.isnan(scores.wall).all() and scores.key.dtype == bool
                assert len(events.scores("door", "t").score) == 0
                saved = events.saved("door")
                assert saved[:2] == ("s", 11) and saved.values["n"] == 3 and saved.values["alarms"] == State().to_json()
                assert saved.values["last"].tobytes() == values["last"].tobytes() and saved.values["empty"].shape == (0, 3)
    with journal.opened(tmp_path / "events.db") as events:
        events.state("\udc80", "t", 1, {})  # a file whose name is no text
        assert events.saved("\udc80") == ("t", 1, {})
        events.finished("s")
        assert events.saved("door") is None and events.streams()[0].finished


def test_a_turn_that_fails_leaves_nothing_and_a_full_disk_is_named(tmp_path):
    with journal.opened(tmp_path / "events.db") as events:
        with pytest.raises(KeyError), events.turn():
            events.happened("door", 5.0, "opened")
            raise KeyError
        events.db.execute("PRAGMA max_page_count = 40")
        with pytest.raises(OSError, match=r"events\.db: not written \(database or disk is full\)"), events.turn():
            events.happened("door", 5.0, "opened")
            events.state("door", "s", 1, {"large": np.zeros(10**6)})
        assert events.happenings() == []
        with events.turn():
            events.happened("door", 6.0, "goes on")
        assert len(events.happenings()) == 1


def test_live_scores_of_the_last_day_are_kept_and_those_of_files_for_ever(tmp_path):
    with journal.opened(tmp_path / "events.db") as events:
        events.score_rows("file", "f", rows(0, 10))
        for hour in range(30):
            events.score_rows("door", "s", rows(10 * hour, 10, wall=3595.0 * hour))  # 5 s of every hour
        kept = events.scores("door", "s").wall
        assert len(kept) == 241 and kept.min() == kept.max() - 86400
        assert len(events.scores("file", "f").score) == 10
        events.happened("door", 0.0, "opened")
        events.happened("door", 40 * 86400.0, "lost")
        assert [kind for *_, kind, _ in events.happenings()] == ["lost"]
        events.happened("door", 41 * 86400.0, "gone")
        events.happened("yard", 90 * 86400.0, "lost")
        assert [kind for *_, kind, _ in events.happenings()] == ["gone", "lost"], "else it would be told again"
        events.happened("door", 91 * 86400.0, "opened")
        events.happened("yard", 140 * 86400.0, "lost")
        assert [kind for *_, kind, _ in events.happenings()] == ["lost"], "else it would be taken for gone"


def test_another_program_that_keeps_the_file_is_waited_for(tmp_path, monkeypatch, capsys):
    """A transaction that somebody had forgotten in the sqlite3 program ended the watch of all cameras after 30 seconds."""
    monkeypatch.setattr(journal, "PATIENCE", 0.01)
    with journal.opened(tmp_path / "events.db") as events:
        other = sqlite3.connect(tmp_path / "events.db", isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        monkeypatch.setattr(journal.SIGNALS, "asked", True)
        with pytest.raises(OSError, match="another program has kept it busy"), events.turn():
            pass
        monkeypatch.setattr(journal.SIGNALS, "asked", False)
        release = threading.Timer(0.2, other.close)
        release.start()
        with events.turn():
            events.happened("door", 1.0, "opened")
        release.join()
        assert len(events.happenings()) == 1 and capsys.readouterr().err.count("until then nothing is scored") == 1


def test_files_that_are_no_journal_are_refused_and_left_as_they_are(tmp_path):
    path = tmp_path / "events.db"
    with journal.opened(path) as events, events.turn():
        for i in range(200):
            events.happened("door", float(i), "opened", "x" * 50)
    whole = path.read_bytes()
    foreign = sqlite3.connect(tmp_path / "other.db")
    foreign.executescript("CREATE TABLE mine (x); INSERT INTO mine VALUES (1);")
    foreign.close()
    newer = whole[:60] + (9).to_bytes(4, "big") + whole[64:]
    damaged = whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2)
    cases = {"no events.db of this program": [b"a picture" * 99, (tmp_path / "other.db").read_bytes()]}
    cases |= {"of version 9": [newer], "damaged": [damaged, whole[: len(whole) // 2]]}
    for words, contents in cases.items():
        for content in contents:
            path.write_bytes(content)
            with pytest.raises(ValueError, match=rf"events\.db: {words}.*away") as told, journal.opened(path):
                pass
            assert path.read_bytes() == content and "\n" not in str(told.value)
    with pytest.raises(FileNotFoundError, match="no such folder"), journal.opened(tmp_path / "none" / "events.db"):
        pass


def filmed(seconds, alarm_at, *, start):
    """A ring that was given four pictures a second, each as bright as its time is late, and told of an alarm."""
    ring = evidence.Ring(before=2.0, late=3.0)
    for i in range(round(4 * seconds)):
        ring.keep(i / 4, np.full((51, 101, 3), min(i, 255), np.uint8))
        if i / 4 == alarm_at:
            ring.begin(start)
    return ring


def test_a_picture_is_of_the_peak_and_a_clip_from_before_the_start_to_the_end(tmp_path):
    av = pytest.importorskip("av")
    ring = filmed(20, 12.0, start=10.0)
    assert len(ring.last) == 21, "of 5 seconds"
    assert ring.picture(15.1, tmp_path / "peak.jpg") and ring.picture(99.0, tmp_path / "last.jpg")
    assert [np.asarray(Image.open(tmp_path / f"{name}.jpg")).mean().round() for name in ("peak", "last")] == [61, 79]
    clip = ring.end(18.0)
    assert clip == filmed(20, 0.0, start=10.0).end(18.0), "as of an alarm that goes on, and is shown again what came before"
    assert clip.write(tmp_path / "clip.mp4") is None
    with av.open(tmp_path / "clip.mp4") as container:
        frames = list(container.decode(video=0))
        stream = container.streams.video[0]
        seen = stream.codec_context.name, stream.codec_context.pix_fmt, stream.width, stream.height
        assert seen == ("h264", "yuv420p", 100, 50)
        times = [frame.time for frame in frames]
        assert times == [i / 4 for i in range(41 + 1)], "from 8 to 18, and the last is shown as long as the others"
        bright = [frame.to_ndarray(format="rgb24").mean() for frame in frames[:-1]]
        np.testing.assert_allclose(bright, np.arange(32, 73), atol=2)
    assert "no picture" in ring.end(19.0).write(tmp_path / "none.mp4") and not evidence.Ring(1, 1).picture(
        0, tmp_path / "none.jpg"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "last.jpg", "peak.jpg"]


def test_an_alarm_that_is_raised_late_has_its_beginning_with_fewer_pictures(monkeypatch):
    monkeypatch.setattr(evidence, "MOST", 30)
    ring = evidence.Ring(before=2.0, late=60.0)
    for i in range(400):
        ring.keep(i / 4, np.zeros((50, 100, 3), np.uint8))
        assert len(ring.last) <= 30 and i / 4 - ring.last[-1].time <= (ring.share - 1) / 4, "the latest stays"
    assert ring.last[0].time < 100 - 62 + 4


def test_a_long_alarm_has_fewer_pictures_and_a_missing_codec_is_replaced_and_both_are_said(tmp_path, monkeypatch):
    av = pytest.importorskip("av")
    monkeypatch.setattr(evidence, "MOST", 30)
    monkeypatch.setattr(evidence, "CODECS", ("none_such", "mpeg4"))
    ring = filmed(50, 4.0, start=3.0)
    assert len(ring.clip.pictures) <= 30 and len(ring.last) <= 30
    clip = ring.end(49.0)
    assert {b.time - a.time for a, b in zip(clip.pictures, clip.pictures[1:], strict=False)} == {2.0}
    note = clip.write(tmp_path / "clip.mp4")
    said = "one of 8 pictures, for the alarm was long; coded as mpeg4, for none_such is missing; browsers may not play it"
    assert note == f"clip.mp4: {said}"
    with av.open(tmp_path / "clip.mp4") as container:
        assert 47 <= container.duration / 1e6 <= 51 and len(list(container.decode(video=0))) == len(clip.pictures) + 1


def test_names_of_files_are_safe_whatever_a_camera_is_called():
    names = ["front/../door", "..", "", "Tür 前門", "\udc80/\0\n", "x" * 500, "前" * 500, "a.b", "a b", "-"]
    stems = [evidence.stem_of(ALARM._replace(camera=name)) for name in names]
    assert len(set(stems)) == len(names) and stems[0].startswith("front_door-") and stems[3].startswith("Tür_前門-")
    for stem in stems:
        assert not re.search(r"[^\w-]", stem) and len(stem.encode()) < 200 and not stem.startswith("-")


def test_a_threshold_raises_as_many_alarms_as_asked_for_and_the_next_lower_one_more():
    rng = np.random.default_rng(0)
    logits = np.convolve(rng.standard_normal(7007), np.ones(8) / 8, "valid") * 3 + 30
    streams = [sigmoid(logits[:3000]), sigmoid(logits[3000:]), np.empty(0)]  # all scores are near 1, and far apart as logits
    found = calibrate(streams, 0.5, rate=5, share=0.5, least=2, pause=4)
    together = np.unique(np.concatenate(streams))
    lower = together[together < found.rule.on].max()

    def n_alarms(rule):
        ends = 0
        for scores in streams:
            state = State()
            for seen in snippets(scores.tolist()):
                state, news = advance(state, seen, rule, "door", "s")
                ends += sum(alarm.end is not None for alarm in news)
            ends += len(finish(state))
        return ends

    assert (
        found.hours == pytest.approx(7000 / 7200) and found.rule.on in together and found.n_alarms == n_alarms(found.rule) <= 4
    )
    assert n_alarms(Rule.at(lower, 0.5, 2, 4)) > 4


def test_what_little_footage_shows_is_said():
    few = calibrate([np.linspace(0.1, 0.3, 2250)], 16 / 30, rate=1, share=0.5, least=2, pause=4)
    assert few.n_alarms == 0 and few.rule.on == 0.3 and 8.98 < few.bound < 8.99
    words = few.in_words()
    assert "0 alarms in 20 minutes" in words and "95% confidence fewer than 8.99" in words and "that takes 3 hours" in words
    long = calibrate([np.tile([0.1] * 99 + [0.9] * 9, 1000)] * 2, 16 / 30, rate=1, share=0.5, least=2, pause=4)
    assert long.n_alarms == 0 and "too short" not in long.in_words()
    allowed = calibrate([np.tile([0.1] * 90 + [0.9] * 18, 1000)], 16 / 30, rate=100, share=0.5, least=2, pause=4)
    assert allowed.n_alarms == 1000 and "alarms last for 17% of the time" in allowed.in_words()
    for scores, words in (([np.ones(99)], "no threshold"), ([np.array([0.1, np.nan])], "NaN"), ([], "none")):
        with pytest.raises(ValueError, match=words):
            calibrate(scores, 0.5, rate=1, share=0.5, least=2, pause=4)


WRITER = """
import sys, time
import numpy as np
from watching import journal
from watching.alarms import Alarm
with journal.opened(sys.argv[1]) as events:
    for turn in range(20):
        with events.turn():
            scores = [journal.Row(i, i / 2, None, 0.5, -1.5, 1, True) for i in range(20 * turn, 20 * turn + 20)]
            events.score_rows("door", "s", scores[:10])
            events.alarm(Alarm("door", "s", turn, *[None] * 6, 0.9, 2)._replace(start=0, peak=0), raised_at=1.0)
            events.state("door", "s", turn, {"turn": turn, "large": np.zeros(300_000)})  # more than stays in memory
            if turn == 19:
                print("in the middle", flush=True)
                time.sleep(600)
            events.score_rows("door", "s", scores[10:])
"""


def test_killed_in_the_middle_of_a_turn_the_journal_has_whole_turns_only(tmp_path):
    path = tmp_path / "events.db"
    command, environment = [sys.executable, "-c", WRITER, str(path)], {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in the middle\n"
        with pytest.raises(ValueError, match="another process writes to it; wait"), journal.opened(path):
            pass
        process.kill()
    with journal.opened(path) as events:
        assert events.saved("door").values["turn"] == 18
        assert events.scores("door", "s").number.tolist() == list(range(20 * 19))
        assert [raised.alarm.first for raised in events.alarms()] == list(range(19))
