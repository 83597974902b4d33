"""Attacks: one per file, over a small shared step loop; verdicts in one place."""

from __future__ import annotations

from engine.attacks.run import run_attack
from engine.attacks.search.result import AttackResult, StepPoint

__all__ = ["AttackResult", "StepPoint", "run_attack"]
