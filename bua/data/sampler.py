"""The order of training examples: a function of seed and epoch alone, resumable within an epoch."""

from collections.abc import Callable, Iterator
from itertools import cycle, islice
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from bua.errors import InputError


class EpochSampler(Sampler[int]):
    """A permutation of ``count`` indices that depends only on seed and epoch.

    Lightning calls ``set_epoch``. With several ranks each takes every ``ranks``-th index; the end
    is filled up from the beginning so that all take the same number.
    """

    def __init__(self, count: int, *, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self.count, self.seed, self.rank, self.ranks = count, seed, rank, ranks
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.count // self.ranks)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.count, generator=generator).tolist()
        total = len(self) * self.ranks
        full = list(islice(cycle(order), total)) if order else []
        yield from full[self.rank :: self.ranks][self.skip :]


class ResumableLoader(DataLoader[Any]):
    """A loader over an ``EpochSampler`` that goes on where a checkpoint was taken.

    Lightning saves and restores ``state_dict`` with the checkpoint.
    """

    def __init__(
        self, dataset: Dataset[Any], *, sampler: EpochSampler, batch_size: int, **kwargs: Any
    ) -> None:
        super().__init__(dataset, batch_size=batch_size, sampler=sampler, generator=apart(), **kwargs)
        self._order = sampler
        self._size = batch_size
        self._given = 0
        self._skip = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._given, self._skip = self._skip, 0
        self._order.skip = self._given * self._size
        for batch in super().__iter__():
            self._given += 1
            yield batch
        self._order.skip = 0
        self._given = 0

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the present epoch have been given."""
        return {"given": self._given, "batch_size": self._size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Skip, in the next pass, the batches that the saved one had given.

        Raises:
            InputError: the batch size is not the saved one, so the position means another example.
        """
        if state["batch_size"] != self._size:
            raise InputError(
                f"the checkpoint was taken with batches of {state['batch_size']}, not {self._size}; "
                "resume with the same"
            )
        self._skip = state["given"] % len(self)  # an epoch that was given whole is not skipped again


def apart() -> torch.Generator:
    """Return random numbers for a loader, so that making it does not use up those of the model."""
    return torch.Generator().manual_seed(0)


def whole(batch: Any) -> Any:
    """Collate what is a batch already."""
    return batch


def shuffled(data: Any, *, collate: Callable[[Any], Any], drop_last: bool = False) -> ResumableLoader:
    """Return the training batches of a DataModule, in the order of its seed and the epoch.

    Args:
        data: has ``train_set``, ``seed``, ``batch_size``, ``workers`` and Lightning's ``trainer``.
        collate: makes a batch of what the set gives.
        drop_last: leave out a last batch that is smaller.
    """
    trainer = data.trainer
    where = {"rank": trainer.global_rank, "ranks": trainer.world_size} if trainer is not None else {}
    return ResumableLoader(
        data.train_set,
        sampler=EpochSampler(len(data.train_set), seed=data.seed, **where),
        batch_size=data.batch_size,
        num_workers=data.workers,
        collate_fn=collate,
        drop_last=drop_last,
    )


def in_order(data: Any, *, collate: Callable[[Any], Any]) -> DataLoader[Any]:
    """Return the validation batches of a DataModule, in the order of its ``val_set``."""
    return DataLoader(
        data.val_set,
        batch_size=data.batch_size,
        num_workers=data.workers,
        collate_fn=collate,
        generator=apart(),
    )
