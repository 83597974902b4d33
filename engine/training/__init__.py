"""Training: one small trainer for standard and PGD adversarial training."""

from __future__ import annotations

from engine.training.trainer import Trained, train

__all__ = ["Trained", "train"]
