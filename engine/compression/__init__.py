"""Compression: steps that turn a base model into a variant, and what is made from a variant."""

from __future__ import annotations

from engine.compression.attack_view import check_agreement
from engine.compression.context import Context
from engine.compression.files import is_stored, load, save
from engine.compression.registry import METHODS
from engine.compression.variant import Variant, apply, apply_step

__all__ = [
    "METHODS",
    "Context",
    "Variant",
    "apply",
    "apply_step",
    "check_agreement",
    "is_stored",
    "load",
    "save",
]
