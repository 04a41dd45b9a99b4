"""Writing checkpoints so that they are complete or absent."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO

from bua.io.write import write_bytes


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint next to its final name, and renames it when the disk has it.

    Lightning writes it to the folder for temporary files, from where it is copied if that is on another
    file system; a process that is killed then leaves a part of it under the final name.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: Path | str, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: Tensors and plain values.
            path: File to write.
            storage_options: Must be ``None``; part of Lightning's interface.

        Raises:
            InputError: If it cannot be written, such as on a full disk.
        """
        if storage_options is not None:
            raise TypeError("storage_options are for remote file systems, which are not supported")
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_bytes(path, content.getvalue())
