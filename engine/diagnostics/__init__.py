"""Diagnostics: whether a variant can be attacked, and whether a result can be believed."""

from __future__ import annotations

from engine.attacks.straight_through import StraightThrough
from engine.diagnostics.averaged import Averaged
from engine.diagnostics.black_box import black_box_broken, black_box_flag, black_box_rival
from engine.diagnostics.checks import check_accuracy, forward, require_logits
from engine.diagnostics.duel import Duel, compare
from engine.diagnostics.examine import Report, examine
from engine.diagnostics.flags import Flag
from engine.diagnostics.gradients import GradientHealth, gradient_health
from engine.diagnostics.one_by_one import OneByOne
from engine.diagnostics.optimisation import lost_flag, unfinished_flag
from engine.diagnostics.repeats import in_company
from engine.diagnostics.rescue import Choice, choose_view, followed_health, judged, wrapped
from engine.diagnostics.transfer import transfer_check, transfer_flag

__all__ = [
    "Averaged",
    "Choice",
    "Duel",
    "Flag",
    "GradientHealth",
    "OneByOne",
    "Report",
    "StraightThrough",
    "black_box_broken",
    "black_box_flag",
    "black_box_rival",
    "check_accuracy",
    "choose_view",
    "compare",
    "examine",
    "followed_health",
    "forward",
    "gradient_health",
    "in_company",
    "judged",
    "lost_flag",
    "require_logits",
    "transfer_check",
    "transfer_flag",
    "unfinished_flag",
    "wrapped",
]
