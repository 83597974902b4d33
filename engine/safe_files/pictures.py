"""Picture files of other people: which are read, how large they may be, how they are cut.

The one place that opens them. Pillow would take any of forty formats, whatever the file is
called, and hands some of them to other programs (PostScript to Ghostscript); here only formats
that it decodes itself. Torch-free.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from engine.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_T = TypeVar("_T")

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""What is read; each is decoded inside the process, without a program that could be told to act."""

MOST_PIXELS = 80_000_000
"""Of one picture, before and after it is resized: a small file may claim any size."""

GREY = frozenset({"1", "L", "LA"})
_COLOUR = frozenset({"RGB", "RGBA", "P", "PA", "CMYK", "YCbCr", "HSV", "LAB"})


class Cut(NamedTuple):
    """How a picture is brought to the size of a network.

    Attributes:
        resize: the shorter side after resizing, in pixels.
        crop: the side of the square cut from the middle.
    """

    resize: int
    crop: int


class Header(NamedTuple):
    """What a file says before a pixel is decoded."""

    mode: str
    width: int
    height: int


@cache
def endings() -> frozenset[str]:
    """The endings, in lower case with their dot, of files that are taken for pictures."""
    from PIL import Image

    return frozenset(e for e, kind in Image.registered_extensions().items() if kind in FORMATS)


def header(file: Path) -> Header:
    """Mode and size of a picture; no pixel is decoded.

    Raises:
        DataError: it is no picture of these formats, too large, or not of 8 bits a channel.
    """
    return _reading(file, lambda picture: Header(picture.mode, *picture.size))


def decode(file: Path, mode: str, cut: Cut | None = None) -> npt.NDArray[np.uint8]:
    """The pixels of a picture.

    Args:
        file: the picture; of several frames the first counts.
        mode: ``L`` or ``RGB``.
        cut: how to bring it to a size; None leaves it as it is.

    Returns:
        (C, H, W) bytes.

    Raises:
        DataError: as for ``header``, or it is truncated or damaged.
    """

    def read(picture: Picture) -> npt.NDArray[np.uint8]:
        converted = picture.convert(mode)
        return np.array(converted if cut is None else _fitted(converted, cut), dtype=np.uint8)

    if cut is not None:
        _check_resized(file, cut)
    pixels = _reading(file, read)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _reading(file: Path, read: Callable[[Picture], _T]) -> _T:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are checked here, and of metadata
            with Image.open(file, formats=FORMATS) as picture:
                _check(file, picture)
                return read(picture)
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise _too_large(file, f"has more than {MOST_PIXELS:,} pixels") from None
    except Exception:  # noqa: BLE001  any bytes may stand there, and decoders stumble in many ways
        raise DataError(
            f"The picture {file} cannot be read.",
            f"It may be truncated or of another format: replace or remove it. Read are "
            f"{', '.join(FORMATS)}.",
        ) from None


def _check(file: Path, picture: Picture) -> None:
    width, height = picture.size
    if width * height > MOST_PIXELS:
        raise _too_large(file, f"is {width:,}x{height:,} pixels, but at most {MOST_PIXELS:,}")
    if picture.mode not in GREY | _COLOUR:
        raise DataError(
            f"The picture {file} has the pixel format {picture.mode}, but 8 bits a channel are "
            "needed.",
            "Convert it to 8-bit grey or RGB.",
        )


def _check_resized(file: Path, cut: Cut) -> None:
    """Refuse a long strip, of which resizing the shorter side would make something huge."""
    _, width, height = header(file)
    short, long = sorted((width, height))
    if cut.resize * (cut.resize * long // short) > MOST_PIXELS:
        raise _too_large(
            file,
            f"is {width:,}x{height:,} pixels; resized to {cut.resize} on the shorter side it has "
            f"more than {MOST_PIXELS:,}",
        )


def _too_large(file: Path, what: str) -> DataError:
    hint = "Replace it by a smaller one, or remove it."
    return DataError(f"The picture {file} {what}, which is too large.", hint)


def _fitted(picture: Picture, cut: Cut) -> Picture:
    """Resized and cropped to the pixel as torchvision does it (``Resize``, ``CenterCrop``)."""
    from PIL import Image

    width, height = picture.size
    if width <= height:
        size = cut.resize, int(cut.resize * height / width)
    else:
        size = int(cut.resize * width / height), cut.resize
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.BILINEAR)
    left, top = (round((side - cut.crop) / 2.0) for side in size)
    return picture.crop((left, top, left + cut.crop, top + cut.crop))
