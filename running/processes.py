"""The processes of a training, as torchrun starts them: each takes its share of every batch, together they are the run of one.

    torchrun --nproc-per-node 2 ucf_train.py --feature-root FEATURES

All hold the same weights and walk through the same steps; the first alone evaluates, writes and speaks. What one finds wrong,
or is asked to stop by, all learn at the same step: the first says it, the others end quietly, with exit code 0, since torchrun
would end the first before it has spoken if another failed.

Gradients are added up by one plain sum: DistributedDataParallel takes the mean of the processes' means, which is not the
batch's where shares differ in size, and needs a video in every share.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import NamedTuple, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from files.interrupt import SIGNALS
from running.command import launched

LONGEST = timedelta(days=1)  # that others wait for the first: all feature files are checked meanwhile, or a test set scored
Result = TypeVar("Result")


class Processes(NamedTuple):
    """The processes of a run, as one of them sees them. Alone, it does what is asked, and nothing else."""

    rank: int = 0  # which of them this is
    n: int = 1

    @property
    def launcher(self) -> list[str]:
        """What a command that goes on with the run begins with."""
        return ["python"] if self.n == 1 else ["torchrun", "--nproc-per-node", str(launched().n_local)]

    @contextmanager
    def together(self) -> Iterator[None]:
        """A block that each process does its part of; what stops one in it, an error or a signal, stops all at its end."""
        if self.n == 1:
            yield
            return
        error = None
        try:
            with SIGNALS.heard():
                yield
        except (ValueError, OSError, KeyboardInterrupt) as stop:
            error = stop
        with self.connected():
            stopped = torch.tensor(int(error is not None))
            dist.all_reduce(stopped)
            if not stopped:
                return
            errors: list[BaseException | None] = [None] * self.n
            dist.all_gather_object(errors, error)
        if self.rank:
            sys.exit()
        raise error or next(filter(None, errors))

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Raise OSError, on the first process, where one that has ended is waited for; the others end quietly."""
        try:
            yield
        except RuntimeError as error:
            if self.rank:
                sys.exit()
            raise OSError(
                "another process of this training has ended, or is out of reach: torchrun says which, and why"
            ) from error

    def by_first(self, work: Callable[[], Result]) -> Result:
        """What the work returns, done by the first process alone; what stops it stops all."""
        told: list[Result] = [None]
        with self.together():
            if self.rank == 0:
                told[0] = work()
        if self.n > 1:
            with self.connected():
                dist.broadcast_object_list(told)
        return told[0]

    def each(self, items: Iterator[Result]) -> Iterator[Result]:
        """The items, of which every process has its own, as many as any other; between two of them all stop, if one is to."""
        end = object()
        while True:
            with self.together():
                item = next(items, end)
            if item is end:
                return
            yield item

    def add_up(self, parameters: Sequence[nn.Parameter], losses: Tensor) -> Tensor:
        """Add up the gradients of all processes, in place, and return the sum of their (V,) losses.

        A parameter that no process has a gradient of keeps none.
        """
        if self.n == 1:
            return losses
        here = losses.new_tensor([parameter.grad is not None for parameter in parameters])
        grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        total = torch.cat([grad.flatten() for grad in grads] + [here, losses])
        with self.connected():
            dist.all_reduce(total)
        *grads, there, losses = total.split([len(grad.flatten()) for grad in grads] + [len(here), len(losses)])
        for parameter, grad, n in zip(parameters, grads, there.tolist(), strict=True):
            parameter.grad = grad.view_as(parameter) if n else None
        return losses

    def reseed(self, seed: int, step: int) -> None:
        """Let dropout's random numbers be a function of seed, step and process, so that a run goes on as it would have.

        They are not those of one process, which draws for the whole batch.
        """
        if self.n > 1:
            torch.manual_seed(int(np.random.SeedSequence([seed, step, self.rank]).generate_state(1, np.uint64)[0] >> 1))


@contextmanager
def joined() -> Iterator[Processes]:
    """All processes that torchrun started, connected until the block ends. Signals wait in it for what they do `together`."""
    launch = launched()
    if launch.n == 1:
        yield Processes()
        return
    processes = Processes(launch.rank, launch.n)
    with SIGNALS if launch.rank else nullcontext(), SIGNALS.delayed():
        with processes.connected():
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=LONGEST)
        yield processes
        dist.destroy_process_group()
