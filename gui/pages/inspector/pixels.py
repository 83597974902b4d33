"""From arrays of images to pictures on screen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QImage

Pixels = NDArray[np.float32]

# Blue - white - vermilion (Okabe & Ito 2008): told apart by readers of any colour vision.
_NEGATIVE = np.array((0, 114, 178), np.float32)
_ZERO = np.array((255, 255, 255), np.float32)
_POSITIVE = np.array((213, 94, 0), np.float32)


def picture(image: Pixels) -> QImage:
    """An image (C,H,W) in [0,1], C 1 or 3, as it is."""
    shown = np.repeat(image, 3, axis=0) if image.shape[0] == 1 else image[:3]
    return _owned(255 * np.clip(shown, 0, 1).transpose(1, 2, 0))


def perturbation(delta: Pixels, factor: float, *, absolute: bool = False) -> QImage:
    """A perturbation (C,H,W), times ``factor``.

    Signed: grey images on a map from blue (darker) over white (zero) to vermilion (lighter),
    colour images around middle grey. Absolute: black is zero, white is 1 or more.
    """
    scaled = np.clip(delta * factor, -1, 1)
    if absolute:
        return picture(np.abs(scaled))
    if scaled.shape[0] != 1:
        return picture((scaled + 1) / 2)
    value = scaled[0][..., None]
    ends = np.where(value < 0, _NEGATIVE, _POSITIVE)
    return _owned(_ZERO + np.abs(value) * (ends - _ZERO))


def _owned(rgb: NDArray[np.float32]) -> QImage:
    # QImage only borrows the buffer: it must be contiguous now and copied before it is gone.
    data = np.ascontiguousarray(np.rint(rgb), np.uint8)
    height, width = data.shape[:2]
    return QImage(data.data, width, height, 3 * width, QImage.Format.Format_RGB888).copy()


def fitting_scale(width: int, height: int, room_width: int, room_height: int) -> float:
    """The largest scale that fits; a whole number if the picture has to grow."""
    scale = min(room_width / width, room_height / height)
    return float(int(scale)) if scale >= 1 else scale
