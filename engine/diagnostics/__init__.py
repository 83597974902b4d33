"""Diagnostics: whether a variant can be attacked, and whether a result can be believed."""

from __future__ import annotations

from engine.attacks.search.straight_through import StraightThrough
from engine.diagnostics.averaged import Averaged
from engine.diagnostics.black_box import Checked, Rival, survivor_flags, survivor_rivals
from engine.diagnostics.checks import check_accuracy, forward, require_logits
from engine.diagnostics.examine import GateReport, examine
from engine.diagnostics.gradients import GradientHealth, gradient_health
from engine.diagnostics.naive import naive_flags, naive_numbers, naive_rival, naive_search
from engine.diagnostics.one_by_one import OneByOne
from engine.diagnostics.optimisation import came_to_its_end, lost_flag, unfinished_flag
from engine.diagnostics.paired_check import Duel, compare
from engine.diagnostics.repeats import in_company
from engine.diagnostics.transfer_check import transfer_check, transfer_flag
from engine.diagnostics.view_choice import (
    ViewChoice,
    choose_view,
    followed_health,
    judged,
    naive_view,
    wrapped,
)
from engine.flags import Flag

__all__ = [
    "Averaged",
    "Checked",
    "Duel",
    "Flag",
    "GateReport",
    "GradientHealth",
    "OneByOne",
    "Rival",
    "StraightThrough",
    "ViewChoice",
    "came_to_its_end",
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
    "naive_flags",
    "naive_numbers",
    "naive_rival",
    "naive_search",
    "naive_view",
    "require_logits",
    "survivor_flags",
    "survivor_rivals",
    "transfer_check",
    "transfer_flag",
    "unfinished_flag",
    "wrapped",
]
