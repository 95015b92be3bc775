"""Which images a preset or a checkpoint is of: published ones, loaded by name, or your own, which are given."""

from __future__ import annotations

from course_lib import datasets
from course_lib.datasets import Dataset
from course_lib.datasets.own import is_own
from course_lib.training.preset import Preset

__all__ = ["data_of_checkpoint", "data_of_preset"]


def data_of_preset(preset: Preset, given: Dataset | None = None) -> Dataset:
    """The images that a preset learns from.

    Args:
        preset: which names them.
        given: them, in the place of what could be loaded by that name.

    Raises:
        ValueError: they have another name, there are none of that name, or they are someone's own and not given.
        OSError: they cannot be had.
    """
    if given is not None and given.name != preset.data:
        named = preset.data or "images yet to be chosen"
        raise ValueError(
            f"{preset.name} is set for {named}, and this is {given.name}: fit it with for_data(preset, data)."
        )
    if given is None and (not preset.data or is_own(preset.data)):
        raise ValueError(
            f"{preset.name} learns from images of your own: give --data and a folder of PNG or JPEG files."
        )
    return given or datasets.load(preset.data)


def data_of_checkpoint(checkpoint: str, name: str, given: Dataset | None = None) -> Dataset:
    """The images that a checkpoint was trained on, with its validation and test images.

    Args:
        checkpoint: what to call it in a complaint.
        name: of the images, as its card has it.
        given: them, in the place of what could be loaded by that name.

    Raises:
        ValueError: they have another name, there are none of that name, or they are someone's own and not given.
        OSError: they cannot be had.
    """
    if given is not None and given.name != name:
        raise ValueError(
            f"{checkpoint} was trained on {name}, and this is {given.name}: give the images that it was trained on."
        )
    if given is None and is_own(name):
        raise ValueError(
            f"{checkpoint} was trained on {name}, images of someone's own: give --data and the folder that they are in."
        )
    return given or datasets.load(name)
