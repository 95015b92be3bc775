r"""Images with known grey or colour levels: published ones by name, and your own.

:func:`load` returns a :class:`Dataset` of intensities in [0, 1], split into training, validation and test images
once and for all; :func:`from_folder`, :func:`from_arrays` and :func:`from_path` make one of your own images. Models of
binary images are trained on :func:`binarize`, which draws every pixel anew on each call, and evaluated on
:func:`fixed_binarization`, which is the same on every machine.
"""

from course_lib.datasets.bits import BINARIZATION_SEED, binarization_entropy, binarize, fixed_binarization
from course_lib.datasets.dataset import Dataset
from course_lib.datasets.own import from_arrays, from_folder, from_path
from course_lib.datasets.published import SPLITS, forty_digits, is_here, load

__all__ = [
    "BINARIZATION_SEED", "SPLITS", "Dataset", "binarization_entropy", "binarize", "fixed_binarization", "forty_digits",
    "from_arrays", "from_folder", "from_path", "is_here", "load",
]  # fmt: skip
