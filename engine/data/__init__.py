"""Datasets: real images in [0,1] with labels, in a seeded, stratified order."""

from __future__ import annotations

from engine.data.image_set import ImageSet
from engine.data.loading import check_fits, load, training_images

__all__ = ["ImageSet", "check_fits", "load", "training_images"]
