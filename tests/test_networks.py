"""Encoders and decoders: the layers asked for, the shapes promised, and what each kind is known for."""

import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from course_lib.vae.networks import ACTIVATIONS, PAIRS, dense_pair, gated_conv_pair, mlp, resnet_pair


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
        (([],), r"sizes must give at least those of an input and an output; got \[\]"),
        (([5],), r"got \[5\]"),
        ((5,), "sizes must give at least those of an input and an output; got 5"),
        (([5, 0, 2],), "each size of a network must be a whole number of at least 1; got 0"),
        (([5, -3],), "at least 1; got -3"),
        (([5, 2.5],), "at least 1; got 2.5"),
        ((["5", 2],), "at least 1; got '5'"),
        (([5, 2], "sigmoid"), "activation must be one of tanh, relu, elu; got 'sigmoid'"),
        (([5, 2], ""), "activation must be one of .*; got ''"),
    ],
)
def test_impossible_networks_are_refused(arguments, told):
    with pytest.raises(ValueError, match=told):
        mlp(*arguments)


# Pairs for images


SMALL = {"dense": {"width": 7}, "gated-conv": {"widths": (2, 3, 5)}, "resnet": {"widths": (2, 3, 5)}}
of_every_pair = pytest.mark.parametrize("name", PAIRS)


@of_every_pair
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (2, 4, 12)])
def test_a_pair_goes_from_images_to_features_and_from_vectors_to_maps(name, shape):
    pair = PAIRS[name](shape, 6, 11, **SMALL[name])
    assert pair.encoder(torch.rand(3, *shape)).shape == (3, pair.n_features)
    assert pair.decoder(torch.rand(3, 6)).shape == (3, 11, *shape[1:])
    assert isinstance(pair.encoder, nn.Sequential) and isinstance(pair.decoder, nn.Sequential)


@pytest.mark.parametrize(
    ("name", "n_out", "sizes"),
    [
        *[(name, n_out, sizes) for name, sizes in SMALL.items() for n_out in (1, 40)],
        ("dense", 1, {"width": 300}),
        ("gated-conv", 1, {"widths": (1, 16, 1)}),
        ("gated-conv", 1, {"widths": (1, 1, 64)}),
        ("resnet", 1, {"widths": (1, 16, 1)}),
        ("resnet", 1, {"widths": (1, 1, 64)}),
    ],
)
def test_the_widest_layer_is_told_by_which_memory_is_planned(name, n_out, sizes):
    decoder, found = (pair := PAIRS[name]((1, 8, 8), 6, n_out, **sizes)).decoder, []
    for layer in decoder.modules():
        layer.register_forward_hook(lambda _, __, output: found.append(output[0].numel()))
    decoder(torch.rand(2, 6))
    assert pair.widest == max(found)


@of_every_pair
@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_every_pixel_and_every_number_counts(name, part):
    torch.manual_seed(0)
    pair = PAIRS[name]((2, 8, 8), 6, 3, **SMALL[name])
    x = torch.rand(1, *((2, 8, 8) if part == "encoder" else (6,)), requires_grad=True)
    output = getattr(pair, part)(x)
    output.backward(torch.randn_like(output))
    assert x.grad.all()
    for parameter_name, parameter in getattr(pair, part).named_parameters():
        # Behind the layers that start at zero nothing is learnt in the very first step.
        assert parameter.grad.any() or ".first." in parameter_name, parameter_name


def test_the_input_is_handed_to_every_fully_connected_layer():
    torch.manual_seed(0)
    pair = dense_pair((1, 4, 4), n_in=6, n_out=2, width=7, n_layers=3)
    for network, n_in, x in ((pair.encoder[1], 16, torch.randn(5, 16)), (pair.decoder[0], 6, torch.randn(5, 6))):
        h = x
        for i, layer in enumerate(network.layers):
            assert (layer.in_features, layer.out_features) == (n_in + 7 * (i > 0), 7)
            a = h @ layer.weight.T + layer.bias
            h = torch.cat([x, torch.where(a > 0, a, a.exp() - 1)], dim=1)
        assert len(network.layers) == 3
        torch.testing.assert_close(network(x), h)
    assert pair.n_features == 16 + 7


def test_residual_blocks_are_the_identity_at_the_start():
    torch.manual_seed(0)
    pair = resnet_pair((1, 8, 8), 6, 1, widths=(2, 3, 5), blocks=(1, 2, 3))
    for part in (pair.encoder, pair.decoder):
        blocks = [layer for layer in part if hasattr(layer, "second")]
        assert [block.first.in_channels for block in blocks] in ([2, 3, 3, 5, 5, 5], [5, 5, 5, 3, 3, 2])
        for block in blocks:
            x = torch.randn(2, block.first.in_channels, 4, 4)
            assert torch.equal(block(x), x)
            # The second convolution, not the first, so that there is something to learn from.
            assert block.first.weight.any()
            nn.init.dirac_(block.second.weight)
            exact = functional.elu(block.first(functional.elu(x)))
            torch.testing.assert_close(block(x) - x, exact, rtol=1e-5, atol=1e-6)


def test_a_network_without_residual_blocks_is_one_too():
    pair = resnet_pair((1, 8, 8), 6, 1, widths=(2, 3, 5), blocks=(0, 0, 0))
    assert pair.decoder(pair.encoder(torch.rand(2, 1, 8, 8))[:, :6]).shape == (2, 1, 8, 8)


def test_gates_are_convolutions_squashed_between_zero_and_one():
    torch.manual_seed(0)
    gated = gated_conv_pair((1, 8, 8), 6, 1, widths=(2, 3, 5)).encoder[0]
    x = torch.randn(3, 1, 8, 8)
    weight, bias = gated.convolution.weight, gated.convolution.bias
    value = functional.conv2d(x, weight[:2], bias[:2], padding=2)
    gate = functional.conv2d(x, weight[2:], bias[2:], padding=2)
    torch.testing.assert_close(gated(x), functional.elu(value) * torch.sigmoid(gate), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["gated-conv", "resnet"])
def test_what_convolutions_see_moves_with_the_image(name):
    """By a whole step of the coarsest maps, away from the edges."""
    torch.manual_seed(0)
    pair = PAIRS[name]((1, 64, 64), 6, 1, **SMALL[name])
    features = nn.Sequential(*pair.encoder[:-1])
    x = torch.zeros(1, 1, 64, 64)
    x[..., 28:36, 28:36] = torch.randn(8, 8)
    here, there = features(x), features(x.roll((4, 4), (2, 3)))
    assert here.shape[2:] == (16, 16)
    inside = (..., slice(6, 11), slice(6, 11))
    assert here[inside].std() > 1e-3
    torch.testing.assert_close(there[inside], here.roll((1, 1), (2, 3))[inside], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "shape", "sizes", "told"),
    [
        ("gated-conv", (1, 30, 28), {}, "convolutions halve an image twice; 30 x 28 is not divisible by 4"),
        ("resnet", (1, 28, 2), {}, "28 x 2 is not divisible by 4"),
        ("resnet", (1, 8, 8), {"widths": (8, 8)}, r"widths must be three numbers of maps.*got \(8, 8\)"),
        ("gated-conv", (1, 8, 8), {"widths": 8}, "widths must be three numbers of maps.*got 8"),
        ("resnet", (1, 8, 8), {"widths": (8, 0, 8)}, "each of widths must be a whole number of at least 1; got 0"),
        ("gated-conv", (1, 8, 8), {"widths": (8, 8, 1.5)}, "each of widths must be a whole number.*got 1.5"),
        ("resnet", (1, 8, 8), {"blocks": (1, 1)}, r"blocks must be three numbers, one a resolution; got \(1, 1\)"),
        ("resnet", (1, 8, 8), {"blocks": (1, -1, 1)}, "each of blocks must be a whole number of at least 0; got -1"),
        ("resnet", (1, 8, 8), {"blocks": 2}, "blocks must be three numbers.*got 2"),
        ("dense", (1, 8, 8), {"width": 0}, "width must be a whole number of at least 1; got 0"),
        ("dense", (1, 8, 8), {"n_layers": 0}, "n_layers must be a whole number of at least 1; got 0"),
        ("dense", (1, 8, 8), {"n_layers": True}, "n_layers must be a whole number of at least 1; got True"),
        ("dense", (8, 8), {}, r"shape must give channels, height and width, such as .*; got \(8, 8\)"),
        ("resnet", 8, {}, "shape must give channels, height and width, such as .*; got 8"),
        ("gated-conv", (1, 8, "8"), {}, "width must be a whole number of at least 1; got '8'"),
    ],
)
def test_impossible_pairs_are_refused(name, shape, sizes, told):
    with pytest.raises(ValueError, match=told):
        PAIRS[name](shape, 6, 1, **sizes)


@pytest.mark.parametrize("name", PAIRS)
def test_a_vector_or_map_of_no_size_is_refused(name):
    with pytest.raises(ValueError, match="n_in must be a whole number of at least 1; got 0"):
        PAIRS[name]((1, 8, 8), 0, 1)
    with pytest.raises(ValueError, match=r"n_out must be a whole number of at least 1; got 1\.5"):
        PAIRS[name]((1, 8, 8), 6, 1.5)


def test_sizes_may_be_floats_without_a_fraction():
    assert [layer.out_features for layer in mlp([4.0, 3.0, 2.0])[::2]] == [3, 2]
    assert PAIRS["dense"]((1.0, 4, 4), 6.0, 1, width=8.0, n_layers=2.0).n_features == 24
