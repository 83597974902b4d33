"""Flags, where the diagnostics look for them."""

from __future__ import annotations

from engine.flags import Flag, Level

__all__ = ["Flag", "Level"]
