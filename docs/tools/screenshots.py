"""Makes the pictures of the pages: ``make screenshots``, or with a folder to keep databases in.

Each is a page of the window after the study of the README, and New with that study as it is read.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGES = ROOT / "docs" / "images"
PAGES = ("new", "queue", "live", "runs", "compare", "inspector")
_COLOURS = 128
"""Colours left of a picture: few, so that it is small; the charts need no more."""


def study() -> str:
    """The study of the README."""
    match = re.search(r"```toml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert match
    return match[1]


def crumple(*arguments: str | Path) -> None:
    """Run a command of the program."""
    subprocess.run([sys.executable, "-P", "-m", "engine", *map(str, arguments)], check=True)


def shoot(folder: Path) -> None:
    """Run the study into a database of this folder, if it is not there, and take the pictures."""
    database, file = folder / "pictures.db", folder / "study.toml"
    file.write_text(study(), "utf-8")
    crumple("run", file, "--db", database)
    for page in PAGES:
        picture = folder / f"{page}.png"
        shown = ("--study", file) if page == "new" else ()
        crumple("gui", "--db", database, "--page", page, *shown, "--screenshot", picture)
        with Image.open(picture) as image:
            small = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
            small.save(IMAGES / picture.name, optimize=True)


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("folder", nargs="?", type=Path, help="holds databases; kept")
    folder = parser.parse_args().folder
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        shoot(folder.resolve())
    else:
        with tempfile.TemporaryDirectory() as temporary:
            shoot(Path(temporary))


if __name__ == "__main__":
    main()
