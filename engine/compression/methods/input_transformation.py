"""Defences that transform images in front of a network; nothing is trained."""

from __future__ import annotations

from torch import nn

from engine.catalog.compressions.defences import BitDepthParams, JpegParams
from engine.compression.context import Context
from engine.compression.parts.front import Fronted
from engine.compression.parts.transformations import BitDepth, Jpeg


def bit_depth(model: nn.Module, params: BitDepthParams, context: Context) -> nn.Module:
    """Put a rounding of pixels in front of a model."""
    del context
    return Fronted(BitDepth(params.depth), model)


def jpeg(model: nn.Module, params: JpegParams, context: Context) -> nn.Module:
    """Put JPEG in front of a model."""
    del context
    return Fronted(Jpeg(params.quality), model)
