"""Training batches in an order that depends only on seed and epoch, and that a checkpoint can continue."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from pytorch_lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from bua.errors import InputError, check_integer
from bua.io.workers import WorkerLoader


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


class ResumableLoader(WorkerLoader):
    """A loader over an ``EpochSampler`` whose next pass can start after any batch.

    Args:
        dataset: Data set.
        sampler: Order of the examples.
        batch_size: Examples in a batch.
        kwargs: Arguments of ``WorkerLoader``.

    Attributes:
        skip: Number of batches that the next pass skips.
        num_yielded: Number of batches that the current pass has yielded or skipped.
    """

    def __init__(
        self, dataset: Dataset[Any], *, sampler: EpochSampler, batch_size: int, **kwargs: Any
    ) -> None:
        super().__init__(
            dataset, batch_size=batch_size, sampler=sampler, generator=loader_generator(), **kwargs
        )
        self._epoch_sampler = sampler
        self._batch_size = batch_size
        self.skip = self.num_yielded = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.num_yielded, self.skip = self.skip, 0
        self._epoch_sampler.skip = self.num_yielded * self._batch_size
        for batch in super().__iter__():
            self.num_yielded += 1
            yield batch
        self._epoch_sampler.skip = 0
        self.num_yielded = 0


def loader_generator() -> torch.Generator:
    """Return a generator for a loader, so that the loader does not consume the model's random numbers."""
    return torch.Generator().manual_seed(0)


def shard_indices(count: int, rank: int, world_size: int) -> range:
    """Return the indices of one process; all processes get the same number.

    Indices from ``count`` on pad the shards: example n is repeated as ``count + n``, and must not be counted.
    """
    return range(rank, -(-count // world_size) * world_size, world_size)


class ResumableDataModule(LightningDataModule, ABC):
    """What a training needs of its data, in an order that depends only on seed and epoch.

    Lightning stores its ``state_dict`` in every checkpoint and restores it before the first batch. (The
    state of the loader itself would be restored only if nothing asks for the number of steps beforehand,
    as learning rate schedules do.)

    Args:
        batch_size: Examples in a batch.
        num_workers: Number of processes that read.
        seed: Seed of the order.

    Attributes:
        sources: Files behind the data, by role; a subclass fills it.

    Raises:
        ValueError: If an option has the wrong type or is out of range.
    """

    def __init__(self, *, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        check_integer("batch_size", batch_size, 1)
        check_integer("num_workers", num_workers)
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self.sources: dict[str, str] = {}
        self._loader: ResumableLoader | None = None
        self._resume_at = 0

    @property
    @abstractmethod
    def sizes(self) -> dict[str, Any]:
        """Arguments of the model that are determined by the data, such as ``vocabulary_size``."""

    @property
    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Plain values that a checkpoint needs in addition to the weights, with the ``kind`` of model."""

    @property
    @abstractmethod
    def parts(self) -> dict[str, Any]:
        """Arguments of the task that are determined by the data."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what belongs to the data, such as a vocabulary, to a run directory."""

    def describe(self) -> list[str]:
        """Return lines about the data, for the beginning of a training; none by default."""
        return []

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the current epoch each process has read, and what a batch is."""
        num_read = 0 if self._loader is None or self._is_epoch_complete else self._loader.num_yielded
        return {"batches": num_read, "batch_size": self.batch_size, "world_size": self.rank_and_world_size[1]}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Skip the batches that were already read when the state was saved.

        Raises:
            InputError: If the batch size or the number of processes differs, which changes what was read.
        """
        present = {"batch_size": self.batch_size, "world_size": self.rank_and_world_size[1]}
        keys = {"batch_size": "data.batch_size", "world_size": "as many processes (trainer.devices)"}
        for name, value in present.items():
            if state_dict["batches"] and state_dict[name] != value:
                raise InputError(
                    f"the checkpoint was saved within an epoch with {keys[name]}={state_dict[name]}, not "
                    f"{value}; resume with the same"
                )
        self._resume_at = state_dict["batches"]
        if self._loader is not None:
            self._skip_read_batches(self._loader)

    def train_loader(
        self,
        dataset: Dataset[Any],
        *,
        collate: Callable[[Any], Any],
        drop_last: bool = False,
        sampler: Callable[..., EpochSampler] = EpochSampler,
    ) -> ResumableLoader:
        """Return the training batches, in an order that depends on the seed and the epoch.

        Args:
            dataset: Examples.
            collate: Function that makes a batch of the items of the data set.
            drop_last: Whether to leave out a last batch that is smaller.
            sampler: Factory of the sampler, called with the number of examples, seed, rank and world size.
        """
        rank, world_size = self.rank_and_world_size
        self._loader = ResumableLoader(
            dataset,
            sampler=sampler(len(dataset), seed=self.seed, rank=rank, world_size=world_size),  # type: ignore[arg-type]
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=collate,
            drop_last=drop_last,
            pin_memory=self._pin_memory,
        )
        self._skip_read_batches(self._loader)
        return self._loader

    def val_loader(
        self,
        dataset: Dataset[Any],
        *,
        collate: Callable[[Any], Any],
        sampler: Iterable[int] | None = None,
    ) -> WorkerLoader:
        """Return the validation batches, in the order of the data set or of a sampler."""
        return WorkerLoader(
            dataset,
            sampler=sampler,
            batch_size=self.batch_size,
            num_workers=self.num_workers,
            collate_fn=collate,
            generator=loader_generator(),
            pin_memory=self._pin_memory,
        )

    @property
    def rank_and_world_size(self) -> tuple[int, int]:
        """Rank and number of processes; 0 and 1 without a trainer."""
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)

    @property
    def _is_epoch_complete(self) -> bool:
        """Whether the epoch ends with the current batch, which may be before the last of the loader."""
        if self.trainer is not None:
            return bool(self.trainer.is_last_batch)
        return self._loader is not None and self._loader.num_yielded == len(self._loader)

    @property
    def _pin_memory(self) -> bool:
        """Whether batches go to a GPU, which copies pinned memory faster and asynchronously."""
        if self.trainer is None:
            return torch.cuda.is_available()
        return bool(self.trainer.strategy.root_device.type == "cuda")

    def _skip_read_batches(self, loader: ResumableLoader) -> None:
        loader.skip, self._resume_at = self._resume_at, 0


def identity_collate(batch: Any) -> Any:
    """Return a batch that is already collated."""
    return batch
