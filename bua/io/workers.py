"""A loader whose worker processes need little of the system, and whose failures are one line."""

import multiprocessing
import multiprocessing.queues
import os
import re
import sys
from collections.abc import Callable, Iterator
from multiprocessing.reduction import ForkingPickler
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor
from torch.utils.data import DataLoader, Dataset

from bua.errors import InputError

T = TypeVar("T")

#: What torch says if a worker process ended.
_ENDED = re.compile(r"DataLoader worker .*(killed by signal|exited unexpectedly)")
#: What it says if a file descriptor, which stands for a tensor, cannot be received; or there is no answer.
_DESCRIPTORS = re.compile(r"Too many open files|items of ancdata")
#: What makes any of these errors less likely.
_ADVICE = "use fewer num_workers, or num_workers=0"


class WorkerLoader(DataLoader[Any]):
    """A ``DataLoader`` for batches that the data set or ``collate_fn`` has put together.

    Tensors travel from the workers through shared memory as far as there is any, and through a pipe beyond
    that, so that a container with 64 MB of it neither fails nor waits forever.

    Args:
        dataset: Data set.
        num_workers: Number of worker processes. Default: 0, which reads in this process.
        kwargs: Other arguments of ``DataLoader``.

    Raises:
        InputError: While iterating: if a worker process raises it or is killed, or if the system lacks
            file descriptors, processes or semaphores for the workers.
    """

    def __init__(self, dataset: Dataset[Any], *, num_workers: int = 0, **kwargs: Any) -> None:
        super().__init__(dataset, num_workers=num_workers, worker_init_fn=_prepare_worker, **kwargs)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        if not self.num_workers:
            yield from super().__iter__()
            return
        _check_resources(self.num_workers)
        batches = _explained(super().__iter__)
        try:
            while True:
                yield _explained(batches.__next__)
        except StopIteration:
            return
        finally:
            del batches  # ends the workers even if the traceback of an error is kept


def _check_resources(num_workers: int) -> None:
    """Raise ``InputError`` unless as many pipes and semaphores can be made as workers need."""
    queues: list[Any] = []
    try:
        for _ in range(2 * num_workers + 4):
            queues.append(multiprocessing.SimpleQueue())
    except OSError as error:
        reason = f"{num_workers} worker processes cannot be started ({error.strerror}; they need /dev/shm"
        raise InputError(f"{reason} and open files); {_ADVICE}") from None
    finally:
        for queue in queues:
            queue.close()


def _explained(step: Callable[[], T]) -> T:
    """Call a function of the loader; what it says about the workers becomes one line."""
    try:
        return step()
    except InputError as error:  # of a worker, with its traceback
        line = str(error).rsplit("InputError: ", 1)[-1].strip()
    except (RuntimeError, OSError, EOFError) as error:
        if _ENDED.search(str(error)):
            line = (
                f"a worker process ended unexpectedly, probably killed because memory ran out; {_ADVICE}; "
                "the same command continues where this one stopped, a training with resume=true"
            )
        elif isinstance(error, EOFError) or _DESCRIPTORS.search(str(error)):
            line = f"too many open files; {_ADVICE}, or a higher ulimit -n"
        else:
            raise
    raise InputError(line)  # outside, because the first error would keep the loader alive


def _prepare_worker(_: int) -> None:
    """Set up a worker process: how its tensors travel, and that it ends if a batch cannot be sent."""
    ForkingPickler.register(Tensor, _reduce_tensor)
    queue: Any = multiprocessing.queues.Queue
    queue._on_queue_feeder_error = staticmethod(_end_worker)
    sys.excepthook = lambda *_: None  # of threads that send; those of the data set are raised by the loader


def _reduce_tensor(tensor: Tensor) -> tuple[Any, ...]:
    """Send a tensor through shared memory, or as it is if there is not enough."""
    try:
        tensor.share_memory_()  # type: ignore[no-untyped-call]
        os.close(os.dup(0))
    except (RuntimeError, OSError):  # no space left on the device, or too many open files
        return torch.from_numpy, (tensor.numpy(),)
    reduced: tuple[Any, ...] = reduce_tensor(tensor)  # type: ignore[no-untyped-call]
    return reduced


def _end_worker(error: Exception, _: Any) -> None:
    """End the process, because the one that waits for the batch would wait forever."""
    os._exit(1)
