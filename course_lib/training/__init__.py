"""How a checkpoint comes to be: presets, the training loop, checkpoints, and several processes that train as one."""

from course_lib.training.cards import Card
from course_lib.training.checkpoints import load_checkpoint
from course_lib.training.loop import train
from course_lib.training.preset import Preset
from course_lib.training.presets import PRESETS, build_model, for_data

__all__ = ["PRESETS", "Card", "Preset", "build_model", "for_data", "load_checkpoint", "train"]
