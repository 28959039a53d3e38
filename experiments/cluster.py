"""The runs of a grid on a Ray cluster.

python ablate.py ucf_train --ray HEAD:6379 --cores 2 ... --out-dir runs/rules -- --feature-root FEATURES
"""

import os
import threading
from argparse import Namespace
from collections.abc import Iterator, Sequence

from experiments.cell import Cell, run
from running.cluster import connected, machines, require_room

RETRIES = 20  # of a run whose machine is lost: it goes on elsewhere, from what it has saved
SAVING = 60.0  # seconds that runs have to save, when somebody stops them


def finished(cells: Sequence[Cell], args: Namespace) -> Iterator[Cell]:
    """Run all, as the flags of OF_CLUSTER say, and yield each at its end.

    Raises OSError where there is no cluster, ValueError where none of its machines is large enough, or a run fails.
    """
    with connected(args.ray) as ray:
        require_room([machine["Resources"] for machine in machines(ray)], args)
        cores = args.cores or 1
        task = ray.remote(num_cpus=cores, num_gpus=args.gpus or 0, max_retries=RETRIES)(run_there)
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
