"""A data set: images, split for training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Dataset"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images, split for training, validation and test.

    Attributes:
        name: as given to `course_lib.datasets.load`; of your own images, the folder's and a hash of the pixels.
        train, validation, test: intensities in [0, 1], ``[N, C, H, W]``, float32: the level divided by
            ``levels - 1``.
        levels: how many values an intensity can have.
        train_labels, validation_labels, test_labels: the class of each image, ``[N]``, int64; None where unknown.
    """

    name: str
    train: Tensor
    validation: Tensor
    test: Tensor
    levels: int
    train_labels: Tensor | None = None
    validation_labels: Tensor | None = None
    test_labels: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.test.shape[1:]
        return channels, height, width

    def __repr__(self) -> str:
        return (
            f"{self.name}: {len(self.train):,} train, {len(self.validation):,} validation and {len(self.test):,} test "
            f"images of {' x '.join(map(str, self.shape))}, {self.levels} levels"
        )
