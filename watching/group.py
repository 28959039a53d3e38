"""A group of cameras: which are in it, and the machine of a cluster that they are watched on."""

from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from files.extra import needed
from running import cluster
from watching.cameras import Camera
from watching.watched import Spent


def require_used(args: Namespace) -> None:
    """Raise ValueError that names a flag which would be ignored, or cannot go with --ray."""
    cluster.require_used(args)
    if args.groups and not args.ray:
        raise ValueError("--groups would be ignored without --ray; leave it out")


@dataclass
class Group:
    """A group of cameras, and the watcher that it has now."""

    number: int
    watcher: Any = None  # Ray's handle of it; None = it is to be placed
    cameras: list[Camera] = field(default_factory=list)  # that the watcher was given
    machine: str = ""  # its identifier
    address: str = ""  # as a person is told of it
    request: Any = None  # of news, on its way
    heard_at: float = 0.0  # on the monotonic clock; until it has answered, when it was placed
    heard: bool = False
    n_placed: int = 0  # times, since it was heard
    taken: int = 0  # the number of its last call that is written where all is gathered
    ended: bool = False  # it was asked to stop, and has saved
    lost_at: float | None = None  # when it was heard last, until it is watched again
    begun: bool = False  # it has been watched once
    spent: Spent = field(default_factory=Spent)  # of its watcher

    @property
    def name(self) -> str:
        return f"group {self.number}"

    def drop(self) -> None:
        """It has no watcher any more."""
        self.watcher = self.request = None
        self.heard, self.taken, self.spent = False, 0, Spent()


def assigned(names: Iterable[str], before: Mapping[str, int], n: int) -> dict[str, int]:
    """The number of each camera's group: its earlier one, where its state lies, or else the smallest of n or more."""
    numbers = {name: before.get(name) for name in names}
    sizes = Counter(number for number in numbers.values() if number is not None)
    for name, number in numbers.items():
        if number is None:
            numbers[name] = min({*range(n), *sizes}, key=lambda number: (sizes[number], number))
            sizes[numbers[name]] += 1
    return numbers


def require_shared(cameras: Sequence[Camera] | None) -> Sequence[Camera] | None:
    """The cameras. Raises ValueError that names one which only the machine it is plugged into can watch."""
    for camera in cameras or ():
        if camera.source.startswith("/dev/"):
            raise ValueError(f"{camera.shown} is of one machine alone, and --ray watches on any; leave out either")
    return cameras


def room(machine: Mapping[str, Any], args: Namespace) -> int:
    """How many groups a machine of the cluster has room for, by what --cores and --gpus say each needs."""
    return cluster.room(machine["Resources"], cores=args.cores or 1, gpus=args.gpus or 0)


def needs(args: Namespace, machine: str, *, reserved: bool) -> dict[str, Any]:
    """What Ray is asked for; a group whose machine is lost shares the cores of another where none are free."""
    there = needed("ray.util.scheduling_strategies", "ray").NodeAffinitySchedulingStrategy(machine, soft=False)
    return {"num_cpus": (args.cores or 1) if reserved else 0, "num_gpus": args.gpus or 0, "scheduling_strategy": there}


def number_of(ray: ModuleType, args: Namespace) -> int:
    """As many as --groups says, or as machines with room. Raises ValueError where the cluster has no room for them."""
    there = cluster.machines(ray)
    n = args.groups or max(1, sum(1 for machine in there if room(machine, args)))
    cluster.require_room([machine["Resources"] for machine in there], args, n)
    return n
