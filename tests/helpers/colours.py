"""Contrast of two colours, and the icons that there are."""

from __future__ import annotations

from PySide6.QtGui import QColor

from engine.host import paths

ICONS = sorted(file.stem for file in (paths.resources() / "icons").glob("*.svg"))


def luminance(name: str) -> float:
    """Relative luminance of WCAG 2.2."""
    parts = [QColor(name).redF(), QColor(name).greenF(), QColor(name).blueF()]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
