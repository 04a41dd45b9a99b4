"""Several processes for one command, started by Lightning: on one machine, many, or by SLURM."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException

from bua.detectors.extract import ProcessGroup
from bua.errors import InputError

#: Processes wait so long for each other: one may be packing tens of gigabytes meanwhile.
PATIENCE = timedelta(days=7)


def run_distributed(
    function: Callable[[ProcessGroup, str], Any], *, device: str, devices: int, num_nodes: int
) -> Any:
    """Call a function in every process of a team and return what it returns here.

    Args:
        function: takes the team and the name of the device of this process.
        device: ``cpu`` or ``cuda``.
        devices: processes on each machine.
        num_nodes: machines.

    Raises:
        InputError: there are not so many devices, or a process of the team was lost.
    """
    for key, value in (("devices", devices), ("num_nodes", num_nodes)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"trainer.{key}={value}: must be an integer of at least 1")
    if devices * num_nodes == 1:
        return function(ProcessGroup(), device)
    kind = device.split(":")[0]
    try:
        strategy = DDPStrategy(timeout=PATIENCE)
        fabric = Fabric(accelerator=kind, devices=devices, num_nodes=num_nodes, strategy=strategy)
        fabric.launch()
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        said = " ".join(str(error).split())
        raise InputError(f"trainer.devices={devices} trainer.num_nodes={num_nodes}: {said}") from None
    here = str(fabric.device)

    def share(mine: Any) -> list[Any]:
        import torch.distributed as dist

        every: list[Any] = [None] * fabric.world_size
        try:
            dist.all_gather_object(every, mine)
        except RuntimeError:
            raise InputError("another process of this command was lost; run it again to go on") from None
        return every

    return function(ProcessGroup(fabric.global_rank, fabric.world_size, share), here)


def rank() -> int:
    """Return 0 in the first of the processes that Lightning or SLURM started, and above in the others."""
    if "SLURM_NTASKS" in os.environ and "SLURM_PROCID" in os.environ:
        return int(os.environ["SLURM_PROCID"])
    if "RANK" in os.environ:
        return int(os.environ["RANK"])
    return int(os.environ.get("LOCAL_RANK", 0)) + 1000 * int(os.environ.get("NODE_RANK", 0))
