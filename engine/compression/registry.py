"""What each step of the catalogue does, and the kinds of parts that a variant can carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from engine import catalog, extensions
from engine.compression.context import Context
from engine.compression.methods.channel import channel
from engine.compression.methods.defensive_distillation import defensive_distillation
from engine.compression.methods.distillation import distil
from engine.compression.methods.filter import filter_pruning
from engine.compression.methods.finetune import finetune
from engine.compression.methods.hydra import hydra
from engine.compression.methods.input_transformation import (
    bit_depth,
    jpeg,
    median,
    random_resize,
    total_variation,
)
from engine.compression.methods.magnitude import magnitude
from engine.compression.methods.nm_sparsity import nm_sparsity
from engine.compression.methods.ptq import SymmetricQuantiser, UnsignedQuantiser, ptq
from engine.compression.methods.purify import purify
from engine.compression.methods.qat import qat
from engine.compression.methods.rap_admm import rap_admm
from engine.compression.parts.base import Part
from engine.compression.parts.binary import BinaryQuantiser, SignActivation
from engine.compression.parts.denoiser import Denoiser
from engine.compression.parts.dorefa import DorefaActivation, DorefaQuantiser, DorefaSign, UnitClip
from engine.compression.parts.lsq import LsqActivation, LsqQuantiser
from engine.compression.parts.mask import Mask
from engine.compression.parts.total_variation import TotalVariation
from engine.compression.parts.transformations import BitDepth, Jpeg, Median, RandomResize
from engine.extensions import CompressionMethod
from engine.specs.choices import Step

Method = Callable[[nn.Module, Any, Context], nn.Module]
"""Compresses a model: it may change the one it is given, and returns it or another."""

METHODS: dict[str, Method] = {
    "finetune": finetune,
    "magnitude": magnitude,
    "filter": filter_pruning,
    "nm-sparsity": nm_sparsity,
    "channel": channel,
    "hydra": hydra,
    "rap-admm": rap_admm,
    "ptq": ptq,
    "qat": qat,
    "kd": distil,
    "ard": distil,
    "rslad": distil,
    "iad-1": distil,
    "iad-2": distil,
    "akd2": distil,
    "bit-depth": bit_depth,
    "jpeg": jpeg,
    "median": median,
    "total-variation": total_variation,
    "random-resize": random_resize,
    "defensive-distillation": defensive_distillation,
    "purify": purify,
}
"""By catalogue id."""


def method(step: Step) -> CompressionMethod:
    """The method of a step, built in or from outside.

    Raises:
        SpecError: it is not here, or cannot be loaded.
    """
    entry = catalog.built_in("compressions").get(step.name)
    if entry is not None and step.origin is None:
        return CompressionMethod(entry, METHODS[step.name])
    found = extensions.implementation("compressions", step)
    assert isinstance(found, CompressionMethod)
    return found


PARTS: dict[str, type[Part]] = {
    part.kind: part
    for part in (
        Mask,
        SymmetricQuantiser,
        UnsignedQuantiser,
        BinaryQuantiser,
        SignActivation,
        DorefaQuantiser,
        DorefaSign,
        DorefaActivation,
        UnitClip,
        LsqQuantiser,
        LsqActivation,
        BitDepth,
        Jpeg,
        Median,
        TotalVariation,
        RandomResize,
        Denoiser,
    )
}
"""By the name that stands in files."""
