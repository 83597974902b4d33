"""Diagnostics: whether a variant can be attacked, and whether a result can be believed."""

from __future__ import annotations

from engine.diagnostics.black_box import black_box_broken, black_box_flag, black_box_rival
from engine.diagnostics.duel import Duel, compare
from engine.diagnostics.examine import Report, examine
from engine.diagnostics.flags import Flag
from engine.diagnostics.gradients import GradientHealth, gradient_health
from engine.diagnostics.transfer import transfer_check, transfer_flag

__all__ = [
    "Duel",
    "Flag",
    "GradientHealth",
    "Report",
    "black_box_broken",
    "black_box_flag",
    "black_box_rival",
    "compare",
    "examine",
    "gradient_health",
    "transfer_check",
    "transfer_flag",
]
