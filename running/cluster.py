"""A Ray cluster, whose machines share this folder and all that is read and written, under one path.

ray start --head                        # on one machine
ray start --address HEAD:6379           # on each other one
"""

import os
import signal
import socket
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from files.extra import needed
from option import Flag, Range, require

ANSWERING = 10.0  # seconds that a cluster has to answer
SETTINGS = bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # HTTP/2's first frame, without any: length, kind 4, flags, stream
OF_CLUSTER = (
    Flag("ray", str, None, "HOST:PORT of a Ray cluster that does the work; its machines share all folders "
         "(requirements-ray.txt)"),
    Flag("cores", int, Range(1, 4096), "--ray: cores that each run, or group of cameras, needs; None = 1"),
    Flag("gpus", float, Range(0, 64), "--ray: GPUs, or a share of one, that each needs; None = none"),
)  # fmt: skip


def require_used(args: Namespace) -> None:
    """Raise ValueError where a flag of OF_CLUSTER has a value that it cannot have, or would be ignored."""
    require(args, OF_CLUSTER)
    if (args.gpus or 0) > 1 and args.gpus % 1:
        raise ValueError(f"--gpus {args.gpus:g}: expected whole ones, or a share of a single one")
    if not args.ray and (args.cores, args.gpus) != (None, None):
        raise ValueError("--cores and --gpus would be ignored without --ray; leave them out")


@contextmanager
def connected(address: str) -> Iterator[ModuleType]:
    """Ray, connected to the cluster there; at the end of the block all that this process began on it ends.

    Raises OSError where there is no cluster.
    """
    ray = needed("ray", "ray")
    before = signal.getsignal(signal.SIGTERM)
    try:
        require_answer(address)
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise OSError(f"--ray {address}: no cluster there ({why}); start one with `ray start --head`") from error
    finally:
        signal.signal(signal.SIGTERM, before)  # Ray takes it, and would end this process without a word
    try:
        yield ray
    finally:
        ray.shutdown()


def require_answer(address: str) -> None:
    """Raise OSError where nobody answers at HOST:PORT as a cluster does, which Ray would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        encrypted = os.environ.get("RAY_USE_TLS", "0") != "0"  # then that somebody is there has to do
        with socket.create_connection((host.rpartition("/")[2], int(port)), ANSWERING) as there:
            if not (encrypted or speaks_http2(there)):
                raise OSError("what answers there is something else")


def speaks_http2(there: socket.socket) -> bool:
    """Whether the other side answers as gRPC does, which a cluster speaks."""
    there.settimeout(ANSWERING)
    there.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS)
    try:
        return there.recv(len(SETTINGS))[3:4] == SETTINGS[3:4]
    except TimeoutError:
        return False


def machines(ray: ModuleType) -> list[dict[str, Any]]:
    """Those that the cluster knows to be alive, as Ray tells of them: NodeID, NodeManagerAddress, Resources."""
    return [node for node in ray.nodes() if node["Alive"]]


def room(resources: Mapping[str, float], *, cores: int, gpus: float) -> int:
    """How often a machine of these resources has so many cores and GPUs."""
    n_cores, n_gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    of_gpus = n_cores if not gpus else n_gpus // gpus if gpus >= 1 else n_gpus * int(1 / gpus + 1e-9)  # a share is of one
    return int(min(n_cores // cores, of_gpus))


def require_room(there: Sequence[Mapping[str, float]], args: Namespace, n: int = 1) -> None:
    """Raise ValueError where machines of these resources have no room for n of what the flags say each needs."""
    cores, gpus = args.cores or 1, args.gpus or 0
    found = sum(room(resources, cores=cores, gpus=gpus) for resources in there)
    if found < n:
        told = "; ".join(f"{resources.get('CPU', 0):g} cores, {resources.get('GPU', 0):g} GPUs" for resources in there)
        who, has = ("the cluster", f"has room for {found} of {n}") if found else ("no machine of the cluster", "has these")
        asked = f"--cores {cores} --gpus {gpus:g}: {who} at {args.ray} {has}: {told or 'none'}"
        raise ValueError(f"{asked}; ask for less, or add machines with `ray start --address {args.ray}`")
