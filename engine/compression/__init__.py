"""Compression: steps that turn a base model into a variant, and what is made from a variant."""

from __future__ import annotations

from engine.compression.attack_view import check_agreement
from engine.compression.context import Context
from engine.compression.files import is_stored, load, save
from engine.compression.parts.front import behind, fronts
from engine.compression.registry import METHODS
from engine.compression.variant import Variant, apply, apply_step, start

__all__ = [
    "METHODS",
    "Context",
    "Variant",
    "apply",
    "apply_step",
    "behind",
    "check_agreement",
    "fronts",
    "is_stored",
    "load",
    "save",
    "start",
]
