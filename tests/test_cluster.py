"""A grid on a Ray cluster of two machines. Needs requirements-ray.txt, which the other tests do without."""

import subprocess
import sys
import time

import pytest
from conftest import ROOT

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def machines():
    """A cluster of two machines of one core each, and a head without."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield cluster, [cluster.add_node(num_cpus=1) for _ in range(2)]
    cluster.shutdown()


def ablate(toy, *more):
    flags = [*map(str, toy.flags), "--visual-layers", "0", "--max-epoch", "1", "--batch-size", "2"]
    script = [sys.executable, str(ROOT / "ablate.py"), "ucf_train", "--out-dir", str(toy.path / "grid"), *more, "--", *flags]
    return subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_every_run_is_done_once_though_a_machine_is_killed(toy, machines):
    cluster, (one, _) = machines
    grid = ablate(toy, "--rows", "no HMA", "ours", "--seeds", "1", "2", "--ray", cluster.address)
    while not list((toy.path / "grid").glob("*/*/log.jsonl")) and grid.poll() is None:
        time.sleep(0.05)
    cluster.remove_node(one, allow_graceful=False)
    out, err = grid.communicate()
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
