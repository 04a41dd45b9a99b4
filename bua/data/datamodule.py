"""The base class of all DataModules: training batches in an order that a checkpoint can continue."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from bua.data.sampler import EpochSampler, ResumableLoader, loader_generator
from bua.errors import InputError, check_integer


class ResumableDataModule(LightningDataModule):
    """A DataModule whose order depends only on seed and epoch, and is continued within an epoch.

    Lightning stores its ``state_dict`` in every checkpoint and restores it before the first batch. (The
    state of the loader itself would be restored only if nothing asks for the number of steps beforehand,
    as learning rate schedules do.)

    Args:
        batch_size: Examples in a batch.
        num_workers: Number of processes that read.
        seed: Seed of the order.

    Raises:
        ValueError: If an option has the wrong type or is out of range.
    """

    def __init__(self, *, batch_size: int, num_workers: int, seed: int) -> None:
        super().__init__()
        check_integer("batch_size", batch_size, 1)
        check_integer("num_workers", num_workers)
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        self._loader: ResumableLoader | None = None
        self._resume_at = 0

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
    ) -> DataLoader[Any]:
        """Return the validation batches, in the order of the data set or of a sampler."""
        return DataLoader(
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
