"""Layers as loops over Python numbers, for slow references."""

import math

import torch


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def times(weight: torch.Tensor, x: list[float], bias: torch.Tensor | None = None) -> list[float]:
    """Return W x + b."""
    rows = weight.tolist()
    biases = [0.0] * len(rows) if bias is None else bias.tolist()
    return [sum(w * v for w, v in zip(row, x, strict=True)) + b for row, b in zip(rows, biases, strict=True)]
