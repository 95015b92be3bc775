"""Encoders and decoders: fully connected, and convolutional for images of two halvings.

An encoder turns images ``[n, channels, height, width]`` into features ``[n, n_features]``; a decoder turns vectors
``[n, n_in]`` into maps ``[n, channels, height, width]``. `PAIRS` names those that an `ImageVAE` is built of.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from course_lib.checks import one_of, whole_number

__all__ = [
    "ACTIVATIONS",
    "PAIRS",
    "Pair",
    "ResNet",
    "ResidualBlock",
    "checked_shape",
    "checked_sizes",
    "dense_pair",
    "gated_conv_pair",
    "mlp",
    "resnet_pair",
]

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "elu": nn.ELU}

Shape = tuple[int, int, int]


def mlp(sizes: Sequence[int], activation: str = "tanh") -> nn.Sequential:
    """Fully connected layers, an activation between each two of them and none after the last.

    Weights start as [Glorot2010] proposes for tanh, biases at zero.

    Args:
        sizes: units of the input, each hidden layer, and the output.
        activation: ``"tanh"``, ``"relu"`` or ``"elu"``.

    Raises:
        ValueError: fewer than two sizes, one that is no whole number of at least 1, or an unknown activation.
    """
    if not isinstance(sizes, Sequence) or len(sizes) < 2:
        raise ValueError(f"sizes must give at least those of an input and an output; got {sizes!r}.")
    sizes = [whole_number("each size of a network", size) for size in sizes]
    one_of("activation", activation, ACTIVATIONS)
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        linear = nn.Linear(n_in, n_out)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class Pair:
    """An encoder and a decoder for images of one shape.

    Attributes:
        encoder: of images ``[n, channels, height, width]``, makes ``[n, n_features]``.
        n_features: what the encoder says of an image.
        decoder: of vectors ``[n, n_in]``, makes ``[n, n_out, height, width]``.
        widest: how many numbers the decoder's largest layer holds for each vector, by which memory is planned.
    """

    encoder: nn.Sequential
    n_features: int
    decoder: nn.Sequential
    widest: int


class _Dense(nn.Module):
    """Fully connected layers with ELU, each of which sees the network's input beside the layer before."""

    def __init__(self, n_in: int, width: int, n_layers: int) -> None:
        super().__init__()
        sizes = [n_in, *[n_in + width] * (n_layers - 1)]
        self.layers = nn.ModuleList(nn.Linear(size, width) for size in sizes)
        self.n_out = n_in + width

    def forward(self, x: Tensor) -> Tensor:
        inputs = x
        for layer in self.layers:
            x = torch.cat([inputs, functional.elu(layer(x))], dim=-1)
        return x


def dense_pair(shape: Shape, n_in: int, n_out: int, width: int = 300, n_layers: int = 3) -> Pair:
    """Fully connected layers, the input handed to every one of them.

    Args:
        shape: channels, height and width of an image.
        n_in: numbers in a vector that the decoder takes.
        n_out: channels of the maps that it makes.
        width: units of a layer.
        n_layers: layers of the encoder, and of the decoder without its output.

    Raises:
        ValueError: a number is no whole one of at least 1, or ``shape`` is not three of them.

    Source: [Kreis2021], the NONCONV pair, without batch norm.
    """
    shape, n_in, n_out = _checked_ends(shape, n_in, n_out)
    width, n_layers = whole_number("width", width), whole_number("n_layers", n_layers)
    _, height, breadth = shape
    encoder = _Dense(_size(shape), width, n_layers)
    decoder = _Dense(n_in, width, n_layers)
    to_maps = nn.Linear(decoder.n_out, n_out * height * breadth)
    return Pair(
        nn.Sequential(nn.Flatten(), encoder),
        encoder.n_out,
        nn.Sequential(decoder, to_maps, nn.Unflatten(1, (n_out, height, breadth))),
        max(decoder.n_out, to_maps.out_features),
    )


class _GatedConv(nn.Module):
    """A 5 x 5 convolution, each of whose outputs passes through a gate that is computed like it.

    Source: [Berg2018], section 6 and its appendix.
    """

    def __init__(self, n_in: int, n_out: int, stride: int = 1) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(n_in, 2 * n_out, 5, stride, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.convolution(x).chunk(2, dim=1)
        return functional.elu(value) * torch.sigmoid(gate)


def gated_conv_pair(shape: Shape, n_in: int, n_out: int, widths: Sequence[int] = (32, 32, 64)) -> Pair:
    """Gated 5 x 5 convolutions without residual connections, two a resolution.

    Args:
        shape: channels, height and width of an image.
        n_in: numbers in a vector that the decoder takes.
        n_out: channels of the maps that it makes.
        widths: maps at full, half and quarter resolution.

    Raises:
        ValueError: a number is no whole one of at least 1, ``shape`` or ``widths`` are not three of them, or an image
            cannot be halved twice.

    Source: [Berg2018], section 6; [Kreis2021], the SNF pair.
    """
    shape, n_in, n_out = _checked_ends(shape, n_in, n_out)
    full, half, quarter = _checked_widths(widths)
    coarse = _coarse(shape, quarter)
    encoder = nn.Sequential(
        _GatedConv(shape[0], full),
        _GatedConv(full, half, stride=2),
        _GatedConv(half, half),
        _GatedConv(half, quarter, stride=2),
        _GatedConv(quarter, quarter),
        nn.Flatten(),
    )
    decoder = nn.Sequential(
        nn.Linear(n_in, _size(coarse)),
        nn.Unflatten(1, coarse),
        _GatedConv(quarter, quarter),
        _Up(quarter, half),
        _GatedConv(half, half),
        _Up(half, full),
        _GatedConv(full, full),
        nn.Conv2d(full, n_out, 1),
    )
    # A gate doubles the maps of its convolution, and two halvings quarter each map twice.
    widest = max(2 * full, 2 * half / 4, 2 * quarter / 16, n_out)
    return Pair(encoder, _size(coarse), decoder, round(widest * shape[1] * shape[2]))


class _Up(nn.Sequential):
    """Twice the height and the width: four maps are computed for each, and shuffled into one.

    Source: [Shi2016], section 3.1.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(nn.Conv2d(n_in, 4 * n_out, 3, padding=1), nn.PixelShuffle(2))


class ResidualBlock(nn.Module):
    """Adds to its input what two 3 x 3 convolutions make of it; nothing at the start of training.

    Source: [He2016]; the start at zero from [Zhang2019], which makes normalization unnecessary here.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Of maps ``[n, channels, height, width]``, others of that shape."""
        return x + self.second(functional.elu(self.first(functional.elu(x))))


class ResNet:
    """The parts of `resnet_pair`: from images down to maps of quarter resolution, and from such maps up to pixels.

    Attributes:
        coarse: channels, height and width of the maps in between.
        widest: how many numbers the largest layer on the way up holds for each image.
    """

    def __init__(self, shape: Shape, n_out: int, widths: Sequence[int], blocks: Sequence[int]) -> None:
        """Check the sizes, which `resnet_pair` describes.

        Raises:
            ValueError: a number is no whole one of at least 1 (of blocks, 0), ``shape``, ``widths`` or ``blocks`` are
                not three of them, or an image cannot be halved twice.
        """
        self._channels, height, width = shape = checked_shape(shape)
        self._n_out, self._widths = whole_number("n_out", n_out), _checked_widths(widths)
        full, half, quarter = self._widths
        self.coarse = _coarse(shape, quarter)
        if not _are_three(blocks):
            raise ValueError(f"blocks must be three numbers, one a resolution; got {blocks!r}.")
        self._blocks = [whole_number("each of blocks", n, least=0) for n in blocks]
        self.widest = round(max(full, half / 4, quarter / 16, self._n_out) * height * width)

    def down(self) -> list[nn.Module]:
        """New layers, of images ``[n, channels, height, width]``, that make ``[n, *coarse]``."""
        full, half, quarter = self._widths
        return [
            nn.Conv2d(self._channels, full, 3, padding=1),
            *self._residual(0),
            nn.ELU(),
            nn.Conv2d(full, half, 3, stride=2, padding=1),
            *self._residual(1),
            nn.ELU(),
            nn.Conv2d(half, quarter, 3, stride=2, padding=1),
            *self._residual(2),
            nn.ELU(),
        ]

    def up(self) -> list[nn.Module]:
        """New layers, of maps ``[n, *coarse]``, that make ``[n, n_out, height, width]``."""
        full, half, quarter = self._widths
        return [
            *self._residual(2),
            nn.ELU(),
            _Up(quarter, half),
            *self._residual(1),
            nn.ELU(),
            _Up(half, full),
            *self._residual(0),
            nn.ELU(),
            nn.Conv2d(full, self._n_out, 3, padding=1),
        ]

    def _residual(self, resolution: int) -> list[nn.Module]:
        return [ResidualBlock(self._widths[resolution]) for _ in range(self._blocks[resolution])]


def resnet_pair(
    shape: Shape, n_in: int, n_out: int, widths: Sequence[int] = (64, 64, 64), blocks: Sequence[int] = (1, 1, 2)
) -> Pair:
    """Residual blocks at three resolutions, with a strided convolution from each to the next.

    Args:
        shape: channels, height and width of an image.
        n_in: numbers in a vector that the decoder takes.
        n_out: channels of the maps that it makes.
        widths: maps at full, half and quarter resolution.
        blocks: residual blocks at each; the decoder has as many.

    Raises:
        ValueError: a number is no whole one of at least 1 (of blocks, 0), ``shape``, ``widths`` or ``blocks`` are not
            three of them, or an image cannot be halved twice.

    Source: [He2016]; 64 maps a layer as in [Kreis2021].
    """
    shape, n_in, n_out = _checked_ends(shape, n_in, n_out)
    parts = ResNet(shape, n_out, widths, blocks)
    n_features = _size(parts.coarse)
    encoder = nn.Sequential(*parts.down(), nn.Flatten())
    decoder = nn.Sequential(nn.Linear(n_in, n_features), nn.Unflatten(1, parts.coarse), *parts.up())
    return Pair(encoder, n_features, decoder, parts.widest)


PAIRS: dict[str, Callable[..., Pair]] = {"dense": dense_pair, "gated-conv": gated_conv_pair, "resnet": resnet_pair}


def checked_shape(shape: Any) -> Shape:
    """``shape`` as the channels, height and width of an image.

    Raises:
        ValueError: it is not three whole numbers of at least 1.
    """
    if not _are_three(shape):
        raise ValueError(f"shape must give channels, height and width, such as (1, 28, 28); got {shape!r}.")
    channels, height, width = map(whole_number, ("channels", "height", "width"), shape)
    return channels, height, width


def checked_sizes(network: str, sizes: Any) -> dict[str, Any]:
    """``sizes`` as keywords of the pair of that name, which checks what they are set to.

    Raises:
        ValueError: they are no mapping, or one is not a keyword of that pair.
    """
    if not isinstance(sizes, Mapping):
        raise ValueError(f"network_arguments must map names to sizes, such as {{'width': 300}}; got {sizes!r}.")
    _, _, _, *keywords = inspect.signature(PAIRS[network]).parameters
    return {one_of(f"each of the network_arguments of {network}", name, keywords): sizes[name] for name in sizes}


def _checked_ends(shape: Any, n_in: Any, n_out: Any) -> tuple[Shape, int, int]:
    return checked_shape(shape), whole_number("n_in", n_in), whole_number("n_out", n_out)


def _size(shape: Shape) -> int:
    return math.prod(shape)


def _coarse(shape: Shape, channels: int) -> Shape:
    """After two halvings."""
    _, height, width = shape
    if height % 4 or width % 4:
        raise ValueError(f"convolutions halve an image twice; {height} x {width} is not divisible by 4.")
    return channels, height // 4, width // 4


def _checked_widths(widths: Sequence[int]) -> tuple[int, int, int]:
    if not _are_three(widths):
        raise ValueError(f"widths must be three numbers of maps, one a resolution; got {widths!r}.")
    full, half, quarter = (whole_number("each of widths", width) for width in widths)
    return full, half, quarter


def _are_three(numbers: Any) -> bool:
    return isinstance(numbers, Sequence) and len(numbers) == 3
