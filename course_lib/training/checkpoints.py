"""Checkpoints: weights as safetensors, and beside them a card in JSON that says where they come from.

``NAME.safetensors`` and ``NAME.json`` belong together; the card holds the hash of the weights.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import torch
from safetensors.torch import load, save
from torch import nn

from course_lib.checks import brief
from course_lib.files import write_atomically
from course_lib.resources import DATA
from course_lib.training.cards import Card, card_from_json
from course_lib.training.preset import Preset
from course_lib.training.presets import build_model
from course_lib.vae import LatentVariableModel

__all__ = ["PUBLISHED", "CheckpointFiles", "load_checkpoint", "read_card", "save_card", "save_checkpoint"]

# The checkpoints that come with the course.
PUBLISHED = DATA / "checkpoints"


@dataclass(frozen=True)
class CheckpointFiles:
    """What belongs to one checkpoint, all of it in one folder and by one name.

    Attributes:
        folder: where the files are.
        name: what they are called, without a suffix.
    """

    folder: Path
    name: str

    @classmethod
    def of(cls, checkpoint: str | Path) -> CheckpointFiles:
        """Those of a checkpoint as users name it.

        Args:
            checkpoint: the path ``NAME.safetensors``, also without its suffix; or a bare name, which means one of the
                course's own.

        Raises:
            ValueError: it is no name, or that of a folder.
        """
        if not isinstance(checkpoint, str | os.PathLike) or not str(checkpoint).strip():
            raise ValueError(
                f"a checkpoint is NAME.safetensors, or the name of one of the course's own; got {checkpoint!r}."
            )
        path = Path(checkpoint)
        if path.suffix == ".safetensors":
            return cls(path.parent, path.stem)
        files = cls(PUBLISHED if path.name == str(checkpoint) else path.parent, path.name)
        if path.is_dir() and not files.weights.exists():
            raise ValueError(f"{path} is a folder: choose a checkpoint in it, {path / 'NAME.safetensors'}.")
        return files

    @property
    def weights(self) -> Path:
        """The weights."""
        return self._with(".safetensors")

    @property
    def card(self) -> Path:
        """What the weights are, how they came to be, and how good they are."""
        return self._with(".json")

    @property
    def state(self) -> Path:
        """What an interrupted training goes on from."""
        return self._with(".state")

    @property
    def log(self) -> Path:
        """A line in JSON for each validation of the training."""
        return self._with(".jsonl")

    @property
    def tensorboard(self) -> Path:
        """The folder of a log for TensorBoard."""
        return self._with(".tensorboard")

    @property
    def pictures(self) -> Path:
        """The folder of what the model made at each validation of the training."""
        return self._with(".pictures")

    def picture(self, what: str, epoch: int) -> Path:
        """A picture in that folder, whose names are in the order of epochs."""
        return self.pictures / f"{what}-{epoch:06}.png"

    def evaluation(self, split: str, proposal: str, n_samples: int) -> Path:
        """What an interrupted evaluation goes on from; each process adds the number of its first image."""
        return self._with(f".{split}-{proposal}-{n_samples}.evaluation")

    def _with(self, suffix: str) -> Path:
        return self.folder / f"{self.name}{suffix}"


def save_checkpoint(path: Path, model: nn.Module, card: Card, dtype: torch.dtype = torch.float32) -> None:
    """Write weights and card, all or nothing.

    Args:
        path: where the weights go, ``NAME.safetensors``; the card goes to ``NAME.json``.
        model: whose weights to store.
        card: what to say about them; the software's versions and the weights' hash are added.
        dtype: of the file's numbers; `load_checkpoint` makes them those of the model.

    Raises:
        OSError: they cannot be written; what was there before is unharmed.
    """
    weights = save({name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in model.state_dict().items()})
    versions = {"python": platform.python_version(), "torch": str(torch.__version__), "numpy": np.__version__}
    card = dataclasses.replace(card, versions=versions, weights_sha256=_sha256(weights))
    files = CheckpointFiles.of(path)
    write_atomically({files.weights: weights, files.card: card.as_json()})


def save_card(path: Path, card: Card) -> None:
    """Write a new card for the weights at ``path``.

    Raises:
        ValueError: the weights have become others than those the card describes.
        OSError: it cannot be written; the card that was there before is unharmed.
    """
    files = CheckpointFiles.of(path)
    if _sha256(files.weights.read_bytes()) != card.weights_sha256:
        raise ValueError(f"{files.weights} was replaced in the meantime, so its card was left as it is.")
    write_atomically({files.card: card.as_json()})


def read_card(path: str | Path) -> Card:
    """The card of a checkpoint, which is named as for `load_checkpoint`.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged or of a later version, or ``path`` is no name.
    """
    file = CheckpointFiles.of(path).card
    return card_from_json(_content(file), str(file))


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> tuple[LatentVariableModel, Card]:
    """Read a model and its card.

    Args:
        path: the weights, ``NAME.safetensors``, with the card ``NAME.json`` beside them; or the bare name of one of
            the course's own checkpoints, such as ``"mnist-iwae-k50"``, wherever you run.
        device: where the model goes.

    Returns:
        The model in eval mode, and the card, whose entries read as in its file.

    Raises:
        FileNotFoundError: weights or card are missing.
        ValueError: they are damaged, do not belong together, or come from a version or model unknown here; or ``path``
            is no name.
    """
    files = CheckpointFiles.of(path)
    weights, card = _content(files.weights), read_card(files.weights)
    if _sha256(weights) != card.weights_sha256:
        raise ValueError(
            f"{files.weights} is not the file that its card describes: it is damaged or of another training; get both "
            "anew."
        )
    try:
        model = build_model(Preset(**card.settings))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{files.card} describes a model that this course cannot build ({brief(error)}): update the course."
        ) from None
    try:
        model.load_state_dict(load(weights))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise ValueError(
            f"{files.weights} does not hold the weights that its card describes ({brief(error)}): get both anew."
        ) from None
    return model.to(device).eval(), card


def _content(file: Path) -> bytes:
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}: a checkpoint is NAME.safetensors and its card NAME.json.")
    return file.read_bytes()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
