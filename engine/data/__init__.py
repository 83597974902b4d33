"""Datasets: real images in [0,1] with labels, in a seeded, stratified order."""

from __future__ import annotations

from engine.data.image_set import ByteImages, Images, ImageSet, take
from engine.data.loading import check_fits, load
from engine.data.training import (
    forget_training,
    further_images,
    lesson,
    looks_at_test_images,
    training_for,
    training_images,
)

__all__ = [
    "ByteImages",
    "ImageSet",
    "Images",
    "check_fits",
    "forget_training",
    "further_images",
    "lesson",
    "load",
    "looks_at_test_images",
    "take",
    "training_for",
    "training_images",
]
