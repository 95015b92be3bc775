"""From torch to matplotlib: the numbers of a tensor (notebooks 03 to 06)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]


def numbers(values: Tensor) -> Floats:
    """The numbers of a tensor, on whatever device, with a gradient or without: an array of the same shape."""
    return np.asarray(values.detach().cpu(), dtype=float)
