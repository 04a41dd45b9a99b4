"""The order of examples, which depends only on seed and epoch and can be resumed within an epoch."""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler


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
    """A loader over an ``EpochSampler`` whose next pass can start after any batch.

    Args:
        dataset: Data set.
        sampler: Order of the examples.
        batch_size: Examples in a batch.
        kwargs: Arguments of ``DataLoader``.

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
