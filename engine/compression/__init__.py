"""Compression: steps that turn a base model into a variant, and what is made from a variant."""

from __future__ import annotations

from engine.compression.attack_view import check_agreement
from engine.compression.context import Context
from engine.compression.files import load, save
from engine.compression.variant import METHODS, Variant, apply

__all__ = ["METHODS", "Context", "Variant", "apply", "check_agreement", "load", "save"]
