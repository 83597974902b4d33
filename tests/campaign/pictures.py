"""Folders with damaged, renamed, huge and hostile pictures."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from engine import data
from engine.safe_files.pictures import FORMATS
from engine.specs.dataset import DatasetSpec
from engine.specs.model_fit import look_at
from tests.campaign.tally import Wrong, damaged, main

ENDINGS = (
    ".png",
    ".jpg",
    ".JPEG",
    ".gif",
    ".webp",
    ".tif",
    ".bmp",
    ".ppm",
    ".eps",
    ".jp2",
    ".txt",
    "",
)
MORE = ("JPEG2000", "TGA", "PCX", "ICO", "SGI", "DDS", "EPS", "PDF", "MSP")
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(../../stray) (w) file\n%%EOF\n"


@cache
def encoded(format_: str, mode: str, side: int) -> bytes:
    """A picture of noise; empty where the format has no such mode."""
    shape = (side, side) if mode == "L" else (side, side, 3)
    noise = np.random.RandomState(side).randint(0, 256, shape, dtype=np.uint8)
    file = io.BytesIO()
    try:
        Image.fromarray(noise).convert(mode).save(file, format_)
    except (OSError, ValueError, KeyError):
        return b""
    return file.getvalue()


def claiming(width: int, height: int) -> bytes:
    """A small PNG that says it is of any size."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99)))


def content(rng: random.Random) -> tuple[str, bytes]:
    """A file that may be a picture, and what it is."""
    match rng.randrange(10):
        case 0:
            return "postscript", POSTSCRIPT
        case 1:
            sides = [rng.choice((0, 1, 8, 10**4, 10**5, 2**31 - 1)) for _ in range(2)]
            return "claims a size", claiming(*sides)
        case 2:
            return "other format", encoded(rng.choice(MORE), "RGB", 16)
        case 3:
            return "noise", rng.randbytes(rng.randrange(200))
        case _:
            whole = encoded(
                rng.choice(FORMATS), rng.choice(("L", "RGB", "P", "1", "CMYK", "I;16")), 16
            )
            return ("damaged", damaged(whole, rng)) if rng.random() < 0.8 else ("whole", whole)


def attempt(rng: random.Random, folder: Path) -> str:
    """Load a folder with one strange file among good ones."""
    _lay_out(rng, folder)
    kind, strange = content(rng)
    (folder / "set" / "a" / f"0{rng.choice(ENDINGS)}").write_bytes(strange)
    cut = rng.choice(({}, {}, {"crop": 8}, {"resize": 20, "crop": 12}, {"resize": 4096, "crop": 9}))
    spec = DatasetSpec.model_validate({"folder": str(folder / "set"), **cut})
    with _programs_that_take_notes(folder):
        look_at(spec)
        images = data.load(spec, rng.randrange(3))
    pixels = images.images[:]
    if not (pixels.isfinite().all() and pixels.min() >= 0 and pixels.max() <= 1):
        raise Wrong("pixels outside of [0,1]")
    if len(pixels) > 3:
        raise Wrong(f"{len(pixels)} pictures out of three files")
    return kind


def _lay_out(rng: random.Random, folder: Path) -> None:
    for name in ("a", "b"):
        (folder / "set" / name).mkdir(parents=True)
        (folder / "set" / name / "9.png").write_bytes(encoded("PNG", rng.choice(("L", "RGB")), 16))


class _programs_that_take_notes:
    """Ghostscript and its like stand first in the path, and leave a file outside if called."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = os.environ.get("PATH", "")

    def __enter__(self) -> None:
        bin_ = self._folder / "bin"
        bin_.mkdir()
        for name in ("gs", "gswin64c", "djpeg", "cjpeg", "xdg-open", "magick", "convert"):
            (bin_ / name).write_text(f"#!/bin/sh\ntouch '{self._folder.parent / name}'\n")
            (bin_ / name).chmod(0o755)
        os.environ["PATH"] = f"{bin_}{os.pathsep}{self._path}"

    def __exit__(self, *_: object) -> None:
        os.environ["PATH"] = self._path


if __name__ == "__main__":
    main("pictures", attempt, 1000)
