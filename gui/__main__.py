"""``python -m gui``: the window. Worker processes import this module again, hence the guard."""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

QT_PACKAGES = (
    "libegl1 libgl1 libxkbcommon0 libdbus-1-3 libfontconfig1 libxkbcommon-x11-0 "
    "libxcb-cursor0 libxcb-icccm4 libxcb-keysyms1"
)


def missing_library(error: ImportError) -> str:
    """What to tell where Qt finds no system library."""
    return (
        f"The window cannot open: {error}.\n"
        f"Install Qt's system libraries, on Debian and Ubuntu:\n"
        f"  sudo apt-get install {QT_PACKAGES}\n"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Open the window; name what is missing where Qt cannot be loaded."""
    gc.disable()  # until the window stands: nothing of what is made before becomes garbage
    try:
        from gui.app import main as open_window
    except ImportError as error:
        if ".so" not in str(error):
            raise
        sys.stderr.write(missing_library(error))
        return 2
    try:
        return open_window(argv)
    finally:
        gc.enable()


if __name__ == "__main__":
    sys.exit(main())
