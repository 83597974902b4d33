"""Base models: architectures, and their weights beside their cards."""

from __future__ import annotations

from engine.models.files.bundle import load, save
from engine.models.files.tensors import count_parameters, fingerprint
from engine.models.registry import build

__all__ = ["build", "count_parameters", "fingerprint", "load", "save"]
