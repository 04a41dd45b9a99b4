"""Running one command in several processes, which are started by Lightning or by SLURM."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException

from bua.detectors.extract import ProcessGroup
from bua.errors import InputError, LostProcessError

#: How long processes wait for each other: one may need time to pack tens of gigabytes.
TIMEOUT = timedelta(days=7)


def run_distributed(
    function: Callable[[ProcessGroup, str], Any], *, device: str, devices: int, num_nodes: int
) -> Any:
    """Call a function in every process of a group, and return its result in this process.

    Args:
        function: Function of the process group and the name of the device of this process.
        device: Kind of device: "cpu" or "cuda".
        devices: Number of processes on each machine.
        num_nodes: Number of machines.

    Raises:
        InputError: If there are not enough devices, or a process of the group is lost.
    """
    for key, value in (("devices", devices), ("num_nodes", num_nodes)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"trainer.{key}={value}: must be an integer of at least 1")
    if devices * num_nodes == 1:
        return function(ProcessGroup(), device)
    kind = device.split(":")[0]
    try:
        strategy = DDPStrategy(timeout=TIMEOUT)
        fabric = Fabric(accelerator=kind, devices=devices, num_nodes=num_nodes, strategy=strategy)
        fabric.launch()
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"trainer.devices={devices} trainer.num_nodes={num_nodes}: {reason}") from None

    def all_gather(value: Any) -> list[Any]:
        import torch.distributed as dist

        values: list[Any] = [None] * fabric.world_size
        try:
            dist.all_gather_object(values, value)
        except RuntimeError:
            raise LostProcessError("run the same command again to continue") from None
        return values

    return function(ProcessGroup(fabric.global_rank, fabric.world_size, all_gather), str(fabric.device))
