"""Encoders and decoders: the layers asked for, and no activation after the last."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from course_lib.vae.networks import ACTIVATIONS, mlp


@pytest.mark.parametrize("sizes", [[4, 3], [4, 1, 3], [4, 20, 10, 3]])
def test_network_has_the_sizes_asked_for_and_takes_any_leading_axes(sizes):
    network = mlp(sizes)
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == list(pairwise(sizes))
    for leading in ((), (5,), (2, 5), (7, 2, 5)):
        assert network(torch.randn(*leading, 4)).shape == (*leading, 3)


@pytest.mark.parametrize(
    ("activation", "exact"),
    [
        ("tanh", torch.tanh),
        ("relu", lambda h: h.clamp(min=0)),
        ("elu", lambda h: torch.where(h > 0, h, h.clamp(max=0).exp() - 1)),
    ],
)
def test_network_is_its_formula(activation, exact):
    torch.manual_seed(0)
    network = mlp([6, 5, 4, 3], activation).double()
    weights, biases = zip(
        *[(layer.weight, layer.bias) for layer in network if isinstance(layer, nn.Linear)], strict=True
    )
    x = 3 * torch.randn(50, 6, dtype=torch.float64)
    h = exact(x @ weights[0].T + biases[0])
    h = exact(h @ weights[1].T + biases[1])
    torch.testing.assert_close(network(x), h @ weights[2].T + biases[2], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_output_is_not_squashed_by_an_activation(activation):
    torch.manual_seed(0)
    network = mlp([2, 8, 4], activation)
    assert isinstance(network[-1], nn.Linear)
    with torch.no_grad():
        network[-1].weight.mul_(100)
        output = network(torch.randn(100, 2))
    assert output.min() < -10 and output.max() > 10


def test_weights_start_as_glorot_and_bengio_say_and_biases_at_zero():
    torch.manual_seed(0)
    for layer in mlp([300, 200, 100]):
        if isinstance(layer, nn.Linear):
            largest = math.sqrt(6 / (layer.in_features + layer.out_features))
            w, n = layer.weight.detach().double(), layer.weight.numel()
            assert w.abs().max() <= largest * (1 + 1e-6)
            # A uniform variable on [-1, 1] has variance 1/3, and its square has variance 4/45.
            assert abs((w / largest).mean()) < 5 * math.sqrt(1 / 3 / n)
            assert abs(((w / largest) ** 2).mean() - 1 / 3) < 5 * math.sqrt(4 / 45 / n)
            assert not layer.bias.any()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (([],), r"input and an output size.*got \[\]"),
        (([5],), r"got \[5\]"),
        (([5, 0, 2],), r"at least 1; got \[5, 0, 2\]"),
        (([5, -3],), r"got \[5, -3\]"),
        (([5, 2.5],), r"whole numbers of at least 1; got \[5, 2.5\]"),
        ((["5", 2],), r"got \['5', 2\]"),
        (([5, 2], "sigmoid"), "no activation 'sigmoid'; choose one of tanh, relu, elu"),
        (([5, 2], ""), "no activation ''"),
    ],
)
def test_impossible_networks_are_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        mlp(*arguments)
