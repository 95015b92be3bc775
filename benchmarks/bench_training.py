"""Minutes as a training's budget, on the clock; see README.md."""

import time
from pathlib import Path

import pytest
from measuring import Show

from course_lib.__main__ import main
from course_lib.training.checkpoints import read_card


@pytest.mark.parametrize("minutes", [0.5, 2])
def test_a_training_takes_the_minutes_it_was_given(minutes: float, tmp_path: Path, show: Show) -> None:
    began = time.perf_counter()
    assert main(["train", "digits-iwae-k5", "--minutes", str(minutes), "--out", str(tmp_path), "--device", "cpu"]) == 0
    took = (time.perf_counter() - began) / 60
    epochs = read_card(tmp_path / "digits-iwae-k5.safetensors").settings["epochs"]
    show(
        f"train digits-iwae-k5 --minutes {minutes}",
        ["", "minutes", "of the budget", "epochs"],
        [["training", f"{took:.3f}", f"{took / minutes:.3f}", f"{epochs:,}"]],
    )
    assert 0.9 <= took / minutes <= 1.1
