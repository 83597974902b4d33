"""Base models: architectures, and their weights beside their cards."""

from __future__ import annotations

from engine.models.bundle import load, save
from engine.models.registry import build
from engine.models.tensors import count_parameters, fingerprint

__all__ = ["build", "count_parameters", "fingerprint", "load", "save"]
