"""Images with labels to train on, and the part of them that is held out to compare epochs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from engine.data.image_set import Images, ImageSet, stratified_order, take
from engine.errors import TrainingError

_MOST_FOR_FEW = 200
_SPLIT_SEED = 0
_FEWEST = 2


@dataclass(frozen=True, eq=False)
class Examples:
    """Images to train or validate on.

    Attributes:
        images: (N, C, H, W), floats in [0,1] when indexed.
        labels: (N,) int64.
        mirrors: whether a mirrored image is still of its class.
    """

    images: Images
    labels: torch.Tensor
    mirrors: bool = True


def hold_out(training_images: ImageSet) -> tuple[Examples, Examples]:
    """Split training images into those to train on and those to validate on, by class.

    A tenth is held out; of few images up to 200, but at most a fifth. The split is the same
    for every seed of a run: what the bundled models were validated on, they never learned, and
    a later fine-tuning does not learn it either.

    Returns:
        The examples to train on, and those to validate on.

    Raises:
        TrainingError: there are too few for two parts.
    """
    count = len(training_images)
    if count < _FEWEST:
        few = "1 training image" if count == 1 else f"{count} training images"
        raise TrainingError(
            f"There is only {few}: nothing is left to train on beside the part that is held "
            "out to choose the best epoch.",
            "Raise train_limit (Training in New), or leave it out to train on all images.",
        )
    held = max(count // 10, min(_MOST_FOR_FEW, count // 5), 1)
    order = torch.from_numpy(stratified_order(training_images.labels.numpy(), _SPLIT_SEED))
    images, labels = training_images.images, training_images.labels
    mirrors = training_images.mirrors
    return (
        Examples(take(images, order[held:]), labels[order[held:]], mirrors),
        Examples(images[order[:held]], labels[order[:held]], mirrors),
    )


def batches(order: torch.Tensor, size: int) -> tuple[torch.Tensor, ...]:
    """A pass over the images in parts of ``size``; what is left makes a smaller last one.

    A single image that is left joins the part before it: alone it has no variance, and
    BatchNorm fails on it, or learns from it.

    Args:
        order: (N,) positions.
        size: 2 or more.
    """
    parts = torch.split(order, size)
    if len(parts) > 1 and len(parts[-1]) == 1:
        return (*parts[:-2], torch.cat(parts[-2:]))
    return parts


def batches_in(count: int, size: int) -> int:
    """How many parts ``batches`` makes of so many images."""
    return len(batches(torch.arange(count), size))
