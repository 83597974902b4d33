"""Diagnostics: whether a variant can be attacked, and whether a result can be believed."""

from __future__ import annotations

from engine.diagnostics.examine import Report, examine
from engine.diagnostics.flags import Flag
from engine.diagnostics.gradients import GradientHealth, gradient_health
from engine.diagnostics.transfer import TransferCheck, transfer_check

__all__ = [
    "Flag",
    "GradientHealth",
    "Report",
    "TransferCheck",
    "examine",
    "gradient_health",
    "transfer_check",
]
