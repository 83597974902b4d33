"""Defences that transform images in front of a network; nothing is trained."""

from __future__ import annotations

import torch
from torch import nn

from engine.catalog.compressions.defences import (
    BitDepthParams,
    JpegParams,
    MedianParams,
    RandomResizeParams,
    TotalVariationParams,
)
from engine.compression.context import Context
from engine.compression.parts.front import Fronted
from engine.compression.parts.total_variation import TotalVariation
from engine.compression.parts.transformations import BitDepth, Jpeg, Median, RandomResize
from engine.errors import SpecError
from engine.evaluation.guard import device_of, forked_rng
from engine.host.memory import memory_errors


def bit_depth(model: nn.Module, params: BitDepthParams, context: Context) -> nn.Module:
    """Put a rounding of pixels in front of a model."""
    del context
    return Fronted(BitDepth(params.depth), model)


def jpeg(model: nn.Module, params: JpegParams, context: Context) -> nn.Module:
    """Put JPEG in front of a model."""
    del context
    return Fronted(Jpeg(params.quality), model)


def median(model: nn.Module, params: MedianParams, context: Context) -> nn.Module:
    """Put a median filter in front of a model.

    Raises:
        SpecError: the square is more than twice as wide as the images.
    """
    side = min(context.image_shape[1:]) if context.image_shape else params.size
    if params.size > 2 * side:
        raise SpecError(
            f"median: size is {params.size} but must be at most {2 * side}, twice the side of the "
            "images."
        )
    return Fronted(Median(params.size), model)


def total_variation(model: nn.Module, params: TotalVariationParams, context: Context) -> nn.Module:
    """Put total variation minimisation in front of a model."""
    del context
    return Fronted(TotalVariation(params.dropped, params.weight), model)


def random_resize(model: nn.Module, params: RandomResizeParams, context: Context) -> nn.Module:
    """Put random resizing and padding in front of a model.

    Raises:
        SpecError: the network takes images of one size alone, or nothing tells their size.
    """
    if context.image_shape is None:
        raise SpecError(
            "random-resize: the shape of an image is not known.", "Leave out this step."
        )
    made = Fronted(RandomResize(params.growth), model)
    place = device_of(model, torch.device("cpu"))
    image = torch.zeros(1, *context.image_shape, device=place)
    try:
        with torch.no_grad(), forked_rng(0), memory_errors():
            made(image)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except Exception as error:  # each network fails in its own way
        reason = str(error).strip().split("\n")[0][:160].rstrip(".") or type(error).__name__
        raise SpecError(
            f"random-resize: the network does not take larger images: {reason}.",
            "Choose a network that ends in a mean over all places, or another defence.",
        ) from error
    return made
