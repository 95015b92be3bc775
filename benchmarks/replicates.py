"""How much of a difference between checkpoints is the luck of one training? See README.md.

    python benchmarks/replicates.py FOLDER --table FILE [PRESET ...] [--seeds 1 2]

Trains presets again from other seeds and evaluates all of them as the published checkpoint was: log p(x) of the test
images, 2,000 draws from the adapted proposal. What is finished is not done again. ``FILE.json`` has, for each preset,
the value of each seed; that of seed 0 is the published checkpoint's, from its card.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
from pathlib import Path

from course_lib.training import train
from course_lib.training.checkpoints import read_card
from course_lib.training.evaluation import evaluate_checkpoint
from course_lib.training.presets import PRESETS


def value_of(preset: str, seed: int, folder: Path) -> float:
    """Mean log p(x) of the test images, in nats."""
    if seed == 0:
        published = read_card(preset).metrics["test"].by("adapted")
        assert published is not None
        return published.log_likelihood.value
    again = dataclasses.replace(PRESETS[preset], name=f"{preset}-seed{seed}", seed=seed)
    weights = folder / f"{again.name}.safetensors"
    if not weights.exists() or (folder / f"{again.name}.state").exists():
        weights = train(again, folder, device="cpu", resume=True)
    found = read_card(weights).metrics.get("test")
    if found is None:
        card, _, _ = evaluate_checkpoint(weights, proposal="adapted", device="cpu", save=True, progress=True)
        found = card.metrics["test"]
    return found.log_likelihood.value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("presets", nargs="*", default=["digits-logistic", "digits-mixture", "digits-softmax"])
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.table.with_suffix(".json")
    table = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for preset in options.presets:
        values = {str(seed): value_of(preset, seed, options.folder) for seed in [0, *options.seeds]}
        table[preset] = values
        spread = statistics.stdev(values.values())
        print(f"{preset:20} {statistics.mean(values.values()):8.2f}, standard deviation {spread:.2f}: {values}")
        file.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
