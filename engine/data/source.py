"""What a reader hands over: all labels, and the pixels of those images that are wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.data.image_set import Labels
from engine.errors import DataError

Pixels = npt.NDArray[np.floating[Any]]


def expanded(name: str) -> Path:
    """The path a person wrote, ``~`` included.

    Raises:
        DataError: nobody knows where that home is.
    """
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise DataError(
            f"The path {name!r} starts in an unknown home folder.", "Write it in full."
        ) from None


@dataclass(frozen=True)
class Source:
    """A dataset before selection.

    Attributes:
        labels: (N,) int64.
        class_names: in the order of the labels.
        read: takes positions (n,), returns pixels (n, C, H, W) in [0,1].
    """

    labels: Labels
    class_names: tuple[str, ...]
    read: Callable[[Labels], Pixels]
