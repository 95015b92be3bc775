"""Checkpoints: weights as safetensors, and beside them a card in JSON that says where they come from.

``NAME.safetensors`` and ``NAME.json`` belong together; the card holds the hash of the weights. ``NAME.state`` is
what an interrupted training needs to go on as if nothing had happened; it is not needed after that.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from course_lib.files import write_atomically
from course_lib.resources import DATA
from course_lib.training.presets import Preset, build_model
from course_lib.vae import LatentVariableModel

__all__ = [
    "CARD_VERSION",
    "PUBLISHED",
    "load_checkpoint",
    "load_state",
    "path_of",
    "save_card",
    "save_checkpoint",
    "save_state",
]

CARD_VERSION = 1
# The checkpoints that come with the course.
PUBLISHED = DATA / "checkpoints"


def save_checkpoint(path: Path, model: nn.Module, card: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> None:
    """Write weights and card, all or nothing.

    Args:
        path: where the weights go, ``NAME.safetensors``; the card goes to ``NAME.json``.
        model: whose weights to store.
        card: what to say about them; the card's version, the software's versions and the weights' hash are added.
        dtype: of the file's numbers; `load_checkpoint` makes them those of the model.

    Raises:
        OSError: they cannot be written; what was there before is unharmed.
    """
    weights = save({name: tensor.detach().cpu().to(dtype).contiguous() for name, tensor in model.state_dict().items()})
    card = {
        "card_version": CARD_VERSION,
        **card,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "weights_sha256": _sha256(weights),
    }
    write_atomically({path: weights, path.with_suffix(".json"): _as_json(card)})


def save_card(path: Path, card: Mapping[str, Any]) -> None:
    """Write a new card for the weights at ``path``.

    Raises:
        ValueError: the weights have become others than those the card describes.
        OSError: it cannot be written; the card that was there before is unharmed.
    """
    if _sha256(path.read_bytes()) != card["weights_sha256"]:
        raise ValueError(f"{path} was replaced in the meantime, so its card was left as it is.")
    write_atomically({path.with_suffix(".json"): _as_json(card)})


def load_checkpoint(path: str | Path, device: str | torch.device = "cpu") -> tuple[LatentVariableModel, dict[str, Any]]:
    """Read a model and its card.

    Args:
        path: the weights, ``NAME.safetensors``, with the card ``NAME.json`` beside them; or the bare name of one of
            the course's own checkpoints, such as ``"mnist-iwae-k50"``, wherever you run.
        device: where the model goes.

    Returns:
        The model in eval mode, and the card.

    Raises:
        FileNotFoundError: weights or card are missing.
        ValueError: they are damaged, do not belong together, or come from a version or model unknown here.
    """
    path = path_of(path)
    card_path = path.with_suffix(".json")
    for file in (path, card_path):
        if not file.is_file():
            raise FileNotFoundError(f"there is no {file}: a checkpoint is NAME.safetensors and its card NAME.json.")
    try:
        card = json.loads(card_path.read_bytes())
        version = card["card_version"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{card_path} is not the card of a checkpoint of this course: get it anew.") from None
    if version != CARD_VERSION:
        raise ValueError(
            f"{card_path} has card version {version!r} and this course reads version {CARD_VERSION}: update the course."
        )
    if missing := {"name", "settings", "metrics", "weights_sha256"} - card.keys():
        raise ValueError(f"{card_path} does not say {', '.join(sorted(missing))}: get it anew.")
    weights = path.read_bytes()
    if _sha256(weights) != card["weights_sha256"]:
        raise ValueError(
            f"{path} is not the file that its card describes: it is damaged or of another training; get both anew."
        )
    try:
        settings = card["settings"]
        if settings["model"] == "DeepVAE":  # its name in cards of version 1
            settings["model"] = "ImageVAE"
        model = build_model(Preset(**settings))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{card_path} describes a model that this course cannot build ({_brief(error)}): update the course."
        ) from None
    try:
        model.load_state_dict(load(weights))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise ValueError(
            f"{path} does not hold the weights that its card describes ({_brief(error)}): get both anew."
        ) from None
    return model.to(device).eval(), card


def path_of(checkpoint: str | Path) -> Path:
    """Where the weights are: a bare name means one of the course's own checkpoints."""
    path = Path(checkpoint)
    if path.suffix == ".safetensors":
        return path
    named = path.with_name(f"{path.name}.safetensors")
    return PUBLISHED / named if path.name == str(checkpoint) else named


def save_state(path: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Write everything that training needs to go on, all or nothing.

    Raises:
        OSError: it cannot be written; the state that was there before is unharmed.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically({path: save(contiguous, metadata={"progress": json.dumps(progress)})})


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_state` wrote.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path} to go on from.")
    try:
        with safetensors.safe_open(path, "pt") as file:
            progress = json.loads(file.metadata()["progress"])
            return {name: file.get_tensor(name) for name in file.keys()}, progress  # noqa: SIM118 (no mapping)
    except (safetensors.SafetensorError, TypeError, KeyError, ValueError):
        raise ValueError(f"{path} is damaged, or no state of a training: remove it and start anew.") from None


def _as_json(card: Mapping[str, Any]) -> bytes:
    return (json.dumps(card, indent=2) + "\n").encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
