"""What training should take on a GPU, from arithmetic and memory alone, written down before any run.

    python benchmarks/predicted.py [NAME ...]

Every operation of a step takes at least what its arithmetic takes at the rate of a large matrix product, what its
memory takes at the bandwidth of a large copy, and the time between two recorded operations; their sum is a step's. The
compiled step is the same without the operations that are neither products nor convolutions, as if all of them were
fused: a floor.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from course_lib import datasets
from course_lib.training.presets import PRESETS, build_model
from course_lib.vae.bounds import GRADIENTS
from course_lib.zoo import ZOO

# Of one H100, as a large matrix product in bfloat16 and a large copy showed; half of the rate in single precision.
RATE, BANDWIDTH = 790e12, 3.0e12
# Between two small operations of a recorded step.
GAP = 2.5e-6
# Of the weights, their gradients and two averages: read and written by the optimizer.
OPTIMIZER_BYTES = 7 * 4


class Count(TorchDispatchMode):
    """Adds up what operations take, without computing them."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.seconds = self.products = self.flops = 0.0
        self.n = 0

    def __torch_dispatch__(self, operation: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        result = operation(*arguments, **(keywords or {}))
        if not operation.is_view and operation.namespace != "prim":
            tensors = [t for t in tree_leaves((arguments, keywords, result)) if isinstance(t, torch.Tensor)]
            moved = sum(t.numel() * t.element_size() for t in {id(t): t for t in tensors}.values())
            count = flop_registry.get(operation.overloadpacket)
            flops = count(*arguments, **(keywords or {}), out_val=result) if count else 0
            seconds = max(flops / self.rate, moved / BANDWIDTH, GAP)
            self.seconds, self.n, self.flops = self.seconds + seconds, self.n + 1, self.flops + flops
            self.products += seconds if count else 0.0
        return result


def without_numbers(model: nn.Module, mode: FakeTensorMode) -> None:
    """Let a model's tensors have shapes and types, and no numbers."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            module._parameters[name] = None if parameter is None else nn.Parameter(mode.from_tensor(parameter.data))
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else mode.from_tensor(buffer)


def step_of(name: str) -> tuple[Count, int]:
    """One step of a preset, and how many weights it moves."""
    preset = PRESETS[name]
    count = Count(RATE if preset.precision == "bfloat16" else RATE / 2)
    model = build_model(preset)
    n_weights = sum(p.numel() for p in model.parameters())
    without_numbers(model, mode := FakeTensorMode())
    with mode:
        x = torch.empty(preset.batch_size, model.data_dim)
        with count, torch.autocast("cpu", torch.bfloat16, enabled=preset.precision == "bfloat16"):
            bound = GRADIENTS[preset.gradient](model, x, preset.k).mean()
        with count:
            (-bound).backward()
    optimizer = n_weights * OPTIMIZER_BYTES / BANDWIDTH + 4 * GAP
    count.seconds, count.products = count.seconds + optimizer, count.products + optimizer
    return count, n_weights


def decoder_pass(name: str) -> float:
    """Seconds of log p(x, z) for one z among many, in bfloat16."""
    n, count = 2_000, Count(RATE)
    model = build_model(name)
    without_numbers(model, mode := FakeTensorMode())
    with mode, torch.no_grad():
        x, z = torch.empty(2, model.data_dim), torch.empty(n // 2, 2, model.latent_dim)
        with count, torch.autocast("cpu", torch.bfloat16):
            model.log_joint(x, z)
    return count.seconds / n


def main(names: Sequence[str]) -> None:
    rows: list[list[Any]] = []
    for name in names or ZOO:
        preset = PRESETS[name]
        count, n_weights = step_of(name)
        n_train, _, n_test, *_ = datasets.SPLITS[preset.data]
        steps = n_train // preset.batch_size
        rows.append(
            [
                name,
                preset.batch_size,
                f"{n_weights / 1e6:.2f} M",
                f"{count.flops / 1e9:.3g}",
                count.n,
                f"{1e3 * count.seconds:.2f}",
                f"{1e3 * count.products:.2f}",
                f"{60 / (steps * count.seconds):,.0f}",
                f"{60 / (steps * count.products):,.0f}",
                f"{n_test * 1_000 * decoder_pass(name):.1f} s",
            ]
        )
    heads = ["preset", "images", "weights", "GFLOP", "operations", "ms recorded", "ms compiled at best"]
    heads += ["epochs a minute recorded", "compiled at best", "IS-1000 of the test images"]
    rule = ["---", *["---:"] * (len(heads) - 1)]
    for cells in [heads, rule, *rows]:
        print(f"| {' | '.join(map(str, cells))} |")


if __name__ == "__main__":
    main(sys.argv[1:])
