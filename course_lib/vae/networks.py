"""Encoders and decoders."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from numbers import Integral

from torch import nn

__all__ = ["ACTIVATIONS", "mlp"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}


def mlp(sizes: Sequence[int], activation: str = "tanh") -> nn.Sequential:
    """Fully connected layers, an activation between each two of them and none after the last.

    Weights start as Glorot and Bengio (2010) propose for tanh, biases at zero.

    Args:
        sizes: units of the input, each hidden layer, and the output.
        activation: ``"tanh"``, ``"relu"`` or ``"elu"``.

    Raises:
        ValueError: fewer than two sizes, one that is no whole number of at least 1, or an unknown activation.
    """
    if len(sizes) < 2 or not all(isinstance(size, Integral) and size >= 1 for size in sizes):
        raise ValueError(
            f"a network needs an input and an output size, whole numbers of at least 1; got {list(sizes)}."
        )
    if activation not in ACTIVATIONS:
        raise ValueError(f"there is no activation {activation!r}; choose one of {', '.join(ACTIVATIONS)}.")
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        linear = nn.Linear(n_in, n_out)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])
