"""The runs of a grid on a Ray cluster, whose machines share this folder and all that the runs read and write, under one path.

ray start --head                        # on one machine
ray start --address HEAD:6379           # on each other one
python ablate.py ucf_train --ray HEAD:6379 --cores 2 ... --out-dir runs/rules -- --feature-root FEATURES
"""

import os
import socket
import threading
from collections.abc import Iterator, Sequence

from experiments.cell import Cell, run
from files.extra import needed

RETRIES = 20  # of a run whose machine is lost: it goes on elsewhere, from what it has saved
ANSWERING = 10.0  # seconds that a cluster has to answer
SAVING = 60.0  # seconds that runs have to save, when somebody stops them


def finished(cells: Sequence[Cell], address: str, *, cores: int, gpus: float) -> Iterator[Cell]:
    """Run all, each with so many cores and GPUs, and yield each at its end.

    Raises OSError where there is no cluster, ValueError where none of its machines is large enough, or a run fails.
    """
    ray = needed("ray", "ray")
    try:
        require_answer(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise OSError(f"--ray {address}: no cluster there ({why}); start one with `ray start --head`") from error
    try:
        require_room([node["Resources"] for node in ray.nodes() if node["Alive"]], address, cores=cores, gpus=gpus)
        task = ray.remote(num_cpus=cores, num_gpus=gpus, max_retries=RETRIES)(run_there)
        left = [task.remote(cell._replace(folder=cell.folder.absolute()), os.getcwd(), cores) for cell in cells]
        try:
            while left:
                (ended,), left = ray.wait(left)
                yield result_of(ray, ended)
        finally:
            for ref in left:
                ray.cancel(ref)
            if left:
                ray.wait(left, num_returns=len(left), timeout=SAVING)
    finally:
        ray.shutdown()


def require_answer(address: str) -> None:
    """Raise OSError where nobody answers at HOST:PORT, which Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.rpartition("/")[2], int(port)), ANSWERING).close()


def run_there(cell: Cell, folder: str, cores: int) -> Cell:
    """On whatever machine it is."""
    os.chdir(folder)
    return run(cell, os.environ | {"OMP_NUM_THREADS": str(cores)}, threading.Event())


def result_of(ray, ended) -> Cell:
    """The run that has ended. Raises ValueError where it failed."""
    try:
        return ray.get(ended)
    except ray.exceptions.RayTaskError as error:
        raise ValueError(f"on the cluster: {error.cause}") from error
    except ray.exceptions.RayError as error:
        raise ValueError(f"on the cluster: {str(error).splitlines()[0]}; the same command goes on") from error


def require_room(machines: Sequence[dict[str, float]], address: str, *, cores: int, gpus: float) -> None:
    """Raise ValueError where a run would wait for ever."""
    if not any(machine.get("CPU", 0) >= cores and machine.get("GPU", 0) >= gpus for machine in machines):
        there = "; ".join(f"{machine.get('CPU', 0):g} cores, {machine.get('GPU', 0):g} GPUs" for machine in machines)
        raise ValueError(
            f"--cores {cores} --gpus {gpus:g}: no machine of the cluster at {address} has these: {there or 'none'}"
        )
