"""What every method keeps to, tried out on it: ``crumple check-method``."""

from __future__ import annotations

from engine.contracts.check import check_file
from engine.contracts.rule import Finding

__all__ = ["Finding", "check_file"]
