"""Say which packages are missing if the system libraries that Qt needs cannot be loaded."""

from __future__ import annotations

import ctypes
import os
import sys

# Library, and the Debian or Ubuntu package it comes in.
LIBRARIES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
}
X11_LIBRARIES = {
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
}


def missing_packages(libraries: dict[str, str]) -> list[str]:
    """The packages whose library the loader does not find."""
    missing = []
    for library, package in libraries.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            missing.append(package)
    return missing


def main() -> int:
    """0 if the window can open, else one line on standard error and 1."""
    if sys.platform != "linux":
        return 0
    needed = LIBRARIES | ({} if os.environ.get("WAYLAND_DISPLAY") else X11_LIBRARIES)
    missing = missing_packages(needed)
    if missing:
        packages = " ".join(missing)
        sys.stderr.write(f"Qt needs system libraries: sudo apt-get install {packages}\n")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
