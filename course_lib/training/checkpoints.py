"""Checkpoints: weights as safetensors, and beside them a card in JSON that says where they come from.

``NAME.safetensors`` and ``NAME.json`` belong together; the card holds the hash of the weights. ``NAME.state`` is
what an interrupted training needs to go on as if nothing had happened; it is not needed after that.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from course_lib.training.presets import Preset, build_model
from course_lib.vae import LatentVariableModel

__all__ = ["CARD_VERSION", "load_checkpoint", "load_state", "save_card", "save_checkpoint", "save_state"]

CARD_VERSION = 1


def save_checkpoint(path: Path, model: nn.Module, card: Mapping[str, Any]) -> None:
    """Write weights and card, each all or nothing.

    Args:
        path: where the weights go, ``NAME.safetensors``; the card goes to ``NAME.json``.
        model: whose weights to store.
        card: what to say about them; the card's version, the software's versions and the weights' hash are added.

    Raises:
        OSError: they cannot be written; what was there before is unharmed.
    """
    weights = save({name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()})
    card = {
        "card_version": CARD_VERSION,
        **card,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    write_atomically(path, weights)
    save_card(path, card)


def save_card(path: Path, card: Mapping[str, Any]) -> None:
    """Write the card that goes with the weights at ``path``.

    Raises:
        OSError: it cannot be written; the card that was there before is unharmed.
    """
    write_atomically(path.with_suffix(".json"), (json.dumps(card, indent=2) + "\n").encode())


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> tuple[LatentVariableModel, dict[str, Any]]:
    """Read a model and its card.

    Args:
        path: the weights, ``NAME.safetensors``; its card ``NAME.json`` must lie beside it.
        device: where the model goes.

    Returns:
        The model in eval mode, and the card.

    Raises:
        FileNotFoundError: weights or card are missing.
        ValueError: they are damaged, do not belong together, or come from a version or model unknown here.
    """
    path = Path(path)
    card_path = path.with_suffix(".json")
    for file, what in ((path, "weights"), (card_path, "card")):
        if not file.is_file():
            raise FileNotFoundError(f"there is no {what} at {file}: a checkpoint is NAME.safetensors and NAME.json.")
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        version, digest, settings = card["card_version"], card["weights_sha256"], card["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{card_path} is not the card of a checkpoint of this course ({error!r}).") from None
    if version != CARD_VERSION:
        raise ValueError(
            f"{card_path} has card version {version} and this course reads version {CARD_VERSION}: update the course."
        )
    weights = path.read_bytes()
    if hashlib.sha256(weights).hexdigest() != digest:
        raise ValueError(
            f"{path} is not the file that its card describes: it is damaged or of another training; fetch both anew."
        )
    try:
        model = build_model(Preset(**settings))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{card_path} describes a model that this course cannot build: {error}") from None
    try:
        model.load_state_dict(load(weights))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise ValueError(f"{path} does not hold the weights of {card.get('name')}: {_first_line(error)}") from None
    return model.to(device).eval(), card


def save_state(path: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Write everything that training needs to go on, all or nothing.

    Raises:
        OSError: it cannot be written; the state that was there before is unharmed.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(contiguous, metadata={"progress": json.dumps(progress)}))


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_state` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no interrupted training at {path}: start one without --resume.")
    try:
        with safetensors.safe_open(path, "pt") as file:
            progress = json.loads(file.metadata()["progress"])
            return {name: file.get_tensor(name) for name in file.keys()}, progress  # noqa: SIM118 (no mapping)
    except (safetensors.SafetensorError, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is no state of a training of this course: {_first_line(error)}") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file, so that whatever happens either the old or the new content is there, whole.

    Raises:
        OSError: it cannot be written, for want of space for example.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(name)
        if isinstance(error, OSError):
            raise OSError(f"cannot write {path}: {error.strerror or error}; what was there before is unharmed.") from None
        raise


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
