"""A sheet of pictures as a network will see them; torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import CrumpleError
from engine.safe_files.pictures import GREY, decode, header
from engine.specs.dataset import DatasetSpec
from engine.specs.model_fit import some_pictures

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

COUNT, TILE, GAP = 4, 60, 6


def save_preview(spec: DatasetSpec, out: Path) -> None:
    """Write one picture of each of the first classes, side by side, as a PNG.

    Pixels are those that a study gets; small pictures are enlarged without smoothing.

    Raises:
        CrumpleError: there are no pictures, one cannot be read, or the file not be written.
    """
    from PIL import Image

    files = some_pictures(spec, COUNT)
    grey = spec.id == "folder" and {header(file).mode for file in files} <= GREY
    tiles = [_tile(file, "L" if grey else "RGB", spec) for file in files]
    sheet = Image.new("RGBA", (len(tiles) * (TILE + GAP) - GAP, TILE))
    for place, tile in enumerate(tiles):
        top = (TILE - tile.height) // 2
        sheet.paste(tile, (place * (TILE + GAP) + (TILE - tile.width) // 2, top))
    try:
        sheet.save(out, "PNG")
    except OSError as error:
        raise CrumpleError(
            f"The file {out} cannot be written: {error.strerror}.",
            "Choose a folder that exists and that you can write to.",
        ) from None


def _tile(file: Path, mode: str, spec: DatasetSpec) -> Picture:
    from PIL import Image

    pixels = decode(file, mode, spec.cut)
    picture = Image.fromarray(pixels[0] if mode == "L" else pixels.transpose(1, 2, 0))
    scale = TILE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    return picture.resize(size, way)
