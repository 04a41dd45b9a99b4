"""Several processes for one command, started by Lightning: on one machine, many, or by SLURM."""

import os
from collections.abc import Callable
from typing import Any

from lightning_fabric import Fabric

from bua.errors import InputError
from bua.regions.extract import Team


def with_team(function: Callable[[Team, str], Any], *, device: str, devices: int, num_nodes: int) -> Any:
    """Call a function in every process of a team and return what it returns here.

    Args:
        function: takes the team and the name of the device of this process.
        device: ``cpu`` or ``cuda``.
        devices: processes on each machine.
        num_nodes: machines.

    Raises:
        InputError: there are not so many devices.
    """
    if devices * num_nodes == 1:
        return function(Team(), device)
    kind = device.split(":")[0]
    try:
        fabric = Fabric(accelerator=kind, devices=devices, num_nodes=num_nodes, strategy="ddp")
        fabric.launch()
    except (RuntimeError, ValueError) as error:
        raise InputError(f"trainer.devices={devices} trainer.num_nodes={num_nodes}: {error}") from None
    here = str(fabric.device)

    def share(mine: Any) -> list[Any]:
        import torch.distributed as dist

        every: list[Any] = [None] * fabric.world_size
        dist.all_gather_object(every, mine)
        return every

    return function(Team(fabric.global_rank, fabric.world_size, share), here)


def leads() -> bool:
    """Say whether this process is the one that tells the user how things went."""
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"
