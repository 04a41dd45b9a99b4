"""The order of training examples: a function of seed and epoch alone, resumable within an epoch."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from bua.errors import InputError


class EpochSampler(Sampler[int]):
    """A permutation of ``count`` indices that depends only on seed and epoch.

    Lightning calls ``set_epoch``. With several ranks each takes every ``ranks``-th index; the end
    is filled up from the beginning so that all take the same number.
    """

    #: So many neighbours in the order go to the same rank.
    together = 1

    def __init__(self, count: int, *, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self.count, self.seed, self.rank, self.ranks = count, seed, rank, ranks
        self.epoch = 0
        self.skip = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self.ranks == 1:
            return self.count
        return -(-self.count // (self.together * self.ranks)) * self.together

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = self.order(generator)
        place = torch.arange(len(self) * self.ranks)
        mine = place[place // self.together % self.ranks == self.rank]
        yield from order[mine[self.skip :] % max(self.count, 1)].tolist()

    def order(self, generator: torch.Generator) -> Int[Tensor, " N"]:
        """Return every index once."""
        return torch.randperm(self.count, generator=generator)


class PairSampler(EpochSampler):
    """An ``EpochSampler`` in which both examples of a pair are neighbours, at an even place and the next.

    Batches of an even size never part them (Teney et al. 2018, section 3.9). Examples that are in no
    pair are paired at random, in every epoch anew; of an odd number of them, one comes last.

    Args:
        pairs: (P, 2), of two examples each; no example is in two of them.
    """

    together = 2

    def __init__(self, count: int, *, pairs: Int[Tensor, "P 2"], **kwargs: int) -> None:
        super().__init__(count, **kwargs)
        single = torch.ones(count, dtype=torch.bool)
        single[pairs.flatten()] = False
        self.pairs, self.singles = pairs, single.nonzero().flatten()

    def order(self, generator: torch.Generator) -> Int[Tensor, " N"]:
        """Return every index once, those of a pair together."""
        singles = self.singles[torch.randperm(len(self.singles), generator=generator)]
        even = len(singles) // 2 * 2
        units = torch.cat([self.pairs, singles[:even].view(-1, 2)])
        units = units[torch.randperm(len(units), generator=generator)]
        return torch.cat([units.flatten(), singles[even:]])


class ResumableLoader(DataLoader[Any]):
    """A loader over an ``EpochSampler`` that goes on where a checkpoint was taken.

    Lightning saves and restores ``state_dict`` with the checkpoint.
    """

    def __init__(
        self, dataset: Dataset[Any], *, sampler: EpochSampler, batch_size: int, **kwargs: Any
    ) -> None:
        super().__init__(
            dataset, batch_size=batch_size, sampler=sampler, generator=loader_generator(), **kwargs
        )
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


def loader_generator() -> torch.Generator:
    """Return random numbers for a loader, so that making it does not use up those of the model."""
    return torch.Generator().manual_seed(0)


def identity_collate(batch: Any) -> Any:
    """Collate what is a batch already."""
    return batch


def train_loader(
    data: Any,
    *,
    collate: Callable[[Any], Any],
    drop_last: bool = False,
    sampler: Callable[..., EpochSampler] = EpochSampler,
) -> ResumableLoader:
    """Return the training batches of a DataModule, in the order of its seed and the epoch.

    Args:
        data: has ``train_set``, ``seed``, ``batch_size``, ``workers`` and Lightning's ``trainer``.
        collate: makes a batch of what the set gives.
        drop_last: leave out a last batch that is smaller.
        sampler: makes the order from the number of examples, the seed, the rank and their number.
    """
    rank, ranks = rank_and_world_size(data)
    return ResumableLoader(
        data.train_set,
        sampler=sampler(len(data.train_set), seed=data.seed, rank=rank, ranks=ranks),
        batch_size=data.batch_size,
        num_workers=data.workers,
        collate_fn=collate,
        drop_last=drop_last,
        pin_memory=should_pin_memory(data),
    )


def shard_indices(count: int, rank: int, ranks: int) -> range:
    """Return the share of a rank in ``count`` examples, as many as every other rank's.

    Indices from ``count`` on fill up the shares: example n comes once more as ``count + n``, and is not
    to be counted again.
    """
    return range(rank, -(-count // ranks) * ranks, ranks)


def should_pin_memory(data: Any) -> bool:
    """Say whether batches go to a GPU, which copies pinned memory faster, and while it computes."""
    if data.trainer is None:
        return torch.cuda.is_available()
    return bool(data.trainer.strategy.root_device.type == "cuda")


def rank_and_world_size(data: Any) -> tuple[int, int]:
    """Return the rank of this process and the number of ranks; of a DataModule alone, 0 and 1."""
    trainer = data.trainer
    return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)


def val_loader(
    data: Any, *, collate: Callable[[Any], Any], sampler: Iterable[int] | None = None
) -> DataLoader[Any]:
    """Return the validation batches of a DataModule, in the order of its ``val_set`` or of a sampler."""
    return DataLoader(
        data.val_set,
        sampler=sampler,
        batch_size=data.batch_size,
        num_workers=data.workers,
        collate_fn=collate,
        generator=loader_generator(),
        pin_memory=should_pin_memory(data),
    )
