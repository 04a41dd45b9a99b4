"""The order of examples, which depends only on seed and epoch and can be resumed within an epoch."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bua.errors import InputError, check_integer, check_number


class EpochSampler(Sampler[int]):
    """A permutation of indices that depends only on seed and epoch.

    Lightning calls ``set_epoch``. With several processes, each takes every ``world_size``-th index; indices
    from the beginning are repeated at the end so that all processes take the same number.

    Args:
        count: Number of examples.
        seed: Seed of the order.
        rank: Rank of this process. Default: 0.
        world_size: Number of processes. Default: 1.
    """

    #: Number of consecutive indices that go to the same process.
    group_size = 1

    def __init__(self, count: int, *, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.count, self.seed, self.rank, self.world_size = count, seed, rank, world_size
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.world_size == 1:
            return self.count
        return -(-self.count // (self.group_size * self.world_size)) * self.group_size

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = self.order(generator)
        position = torch.arange(len(self) * self.world_size)
        own = position[position // self.group_size % self.world_size == self.rank]
        yield from order[own[self.skip :] % max(self.count, 1)].tolist()

    def order(self, generator: torch.Generator) -> Int[Tensor, " N"]:
        """Return a permutation of all indices."""
        return torch.randperm(self.count, generator=generator)


class PairSampler(EpochSampler):
    """An ``EpochSampler`` in which both examples of a pair are neighbors, at an even position and the next.

    Batches of even size never separate them (Teney et al. 2018, section 3.9). Examples that are in no pair
    are paired at random, differently in every epoch; if their number is odd, one comes last.

    Args:
        count: Number of examples.
        pairs: Indices of both examples of each pair, shape (P, 2); no example is in two pairs.
        kwargs: Arguments of ``EpochSampler``.
    """

    group_size = 2

    def __init__(self, count: int, *, pairs: Int[Tensor, "P 2"], **kwargs: int) -> None:
        super().__init__(count, **kwargs)
        single = torch.ones(count, dtype=torch.bool)
        single[pairs.flatten()] = False
        self.pairs, self.singles = pairs, single.nonzero().flatten()

    def order(self, generator: torch.Generator) -> Int[Tensor, " N"]:
        """Return a permutation of all indices that keeps pairs together."""
        singles = self.singles[torch.randperm(len(self.singles), generator=generator)]
        even = len(singles) // 2 * 2
        units = torch.cat([self.pairs, singles[:even].view(-1, 2)])
        units = units[torch.randperm(len(units), generator=generator)]
        return torch.cat([units.flatten(), singles[even:]])


class ResumableLoader(DataLoader[Any]):
    """A loader over an ``EpochSampler`` that can continue from the position saved in a checkpoint.

    Lightning saves and restores its ``state_dict`` with the checkpoint.

    Args:
        dataset: Data set.
        sampler: Order of the examples.
        batch_size: Examples in a batch.
        kwargs: Arguments of ``DataLoader``.
    """

    def __init__(
        self, dataset: Dataset[Any], *, sampler: EpochSampler, batch_size: int, **kwargs: Any
    ) -> None:
        super().__init__(
            dataset, batch_size=batch_size, sampler=sampler, generator=loader_generator(), **kwargs
        )
        self._epoch_sampler = sampler
        self._batch_size = batch_size
        self._yielded = 0
        self._skip = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._yielded, self._skip = self._skip, 0
        self._epoch_sampler.skip = self._yielded * self._batch_size
        for batch in super().__iter__():
            self._yielded += 1
            yield batch
        self._epoch_sampler.skip = 0
        self._yielded = 0

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the current epoch have been yielded."""
        return {"yielded": self._yielded, "batch_size": self._batch_size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Skip the batches that were already yielded when the state was saved.

        Raises:
            InputError: If the batch size differs from the saved one, which would change the position.
        """
        if state["batch_size"] != self._batch_size:
            raise InputError(
                f"the checkpoint was taken with data.batch_size={state['batch_size']}, not "
                f"{self._batch_size}; resume with the same"
            )
        self._skip = state["yielded"] % len(self)  # a complete epoch is not skipped again


def check_loading(batch_size: int, num_workers: int, geometry: float | None) -> None:
    """Raise ``ValueError`` unless the options that all DataModules share are valid."""
    check_integer("batch_size", batch_size, 1)
    check_integer("num_workers", num_workers)
    if geometry is not None:
        check_number("geometry", geometry, without=0)


def loader_generator() -> torch.Generator:
    """Return a generator for a loader, so that the loader does not consume the model's random numbers."""
    return torch.Generator().manual_seed(0)


def identity_collate(batch: Any) -> Any:
    """Return a batch that is already collated."""
    return batch


def train_loader(
    data: Any,
    *,
    collate: Callable[[Any], Any],
    drop_last: bool = False,
    sampler: Callable[..., EpochSampler] = EpochSampler,
) -> ResumableLoader:
    """Return the training batches of a DataModule, in an order that depends on its seed and the epoch.

    Args:
        data: DataModule with ``train_set``, ``seed``, ``batch_size``, ``num_workers`` and Lightning's
            ``trainer``.
        collate: Function that makes a batch of the items of the data set.
        drop_last: Whether to leave out a last batch that is smaller.
        sampler: Factory of the sampler, called with the number of examples, seed, rank and world size.
    """
    rank, world_size = rank_and_world_size(data)
    return ResumableLoader(
        data.train_set,
        sampler=sampler(len(data.train_set), seed=data.seed, rank=rank, world_size=world_size),
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        collate_fn=collate,
        drop_last=drop_last,
        pin_memory=should_pin_memory(data),
    )


def val_loader(
    data: Any, *, collate: Callable[[Any], Any], sampler: Iterable[int] | None = None
) -> DataLoader[Any]:
    """Return the validation batches of a DataModule, in the order of its ``val_set`` or of a sampler."""
    return DataLoader(
        data.val_set,
        sampler=sampler,
        batch_size=data.batch_size,
        num_workers=data.num_workers,
        collate_fn=collate,
        generator=loader_generator(),
        pin_memory=should_pin_memory(data),
    )


def shard_indices(count: int, rank: int, world_size: int) -> range:
    """Return the indices of one process; all processes get the same number.

    Indices from ``count`` on pad the shards: example n is repeated as ``count + n``, and must not be counted.
    """
    return range(rank, -(-count // world_size) * world_size, world_size)


def should_pin_memory(data: Any) -> bool:
    """Return whether batches go to a GPU, which copies pinned memory faster and asynchronously."""
    if data.trainer is None:
        return torch.cuda.is_available()
    return bool(data.trainer.strategy.root_device.type == "cuda")


def rank_and_world_size(data: Any) -> tuple[int, int]:
    """Return rank and number of processes of a DataModule; 0 and 1 without a trainer."""
    trainer = data.trainer
    return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
