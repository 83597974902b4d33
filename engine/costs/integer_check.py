"""Whether a variant of 8 bits predicts the same where it really computes with integers.

The deployed model goes to ONNX without its quantisers, and ONNX Runtime quantises it again: to
our scales where the variant has some, and to ranges seen on calibration images elsewhere (the
images themselves, sums, means, what leaves a convolution without a ReLU). There it runs on
8-bit integers on the CPU. So it rounds also what some layers of the variant read in fp32;
``calibrated_layers`` tells how many. What stands in front of the network stays as it is, and
draws the same for both where it is random.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from engine import compression
from engine.compression import Context, Variant
from engine.compression.layers import modules_of
from engine.compression.parts.base import ActivationQuantiser
from engine.costs.accounting import input_bits
from engine.evaluation.guard import arithmetic, forked_rng
from engine.evaluation.model_call import ask
from engine.training import hold_out
from engine.training.adversary import pgd_examples

BITS = 8
IMAGES = 256
_STEPS = 5
_NEAR = 0.1
_EPS = tuple(2**power / 255 for power in range(7))

_NEEDED = ("onnx", "onnxruntime")
MISSING = (
    "The integer check was left out, because ONNX Runtime is not installed: "
    "pip install 'crumple[onnx]' adds it."
)

Staged = Callable[[str, str, Callable[[], Any]], Any]


class IntegerLatency(BaseModel):
    """Median time of a forward pass in ONNX Runtime, both models in turn.

    Attributes:
        batch: images in a pass.
        milliseconds: on integers.
        fp32_milliseconds: of the same network in fp32.
        repeats: passes of each.
        threads: of the processor.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int
    milliseconds: float
    fp32_milliseconds: float
    repeats: int
    threads: int


class IntegerCheck(BaseModel):
    """What the integer engine made of the images, beside the deployed model.

    Attributes:
        engine: its name and version.
        images: how many; training images that no step learns from, if there are enough.
        integer_layers: convolutions and linear layers that run on integers.
        layers: all of them.
        calibrated_layers: those of ``integer_layers`` whose input the variant leaves in fp32, so
            that the engine rounds what the variant does not; None in what an older version stored.
        own_scales: tensors that have the scales of the variant, not calibrated ones.
        clean_agreement: share of the images with the same prediction.
        eps: radius of the Linf ball for the examples near the boundary: the smallest power of
            two over 255 at which PGD on the attack view breaks a tenth of the images.
        near_agreement: share of these examples with the same prediction.
        near_accuracy: of the deployed model on these examples.
        near_integer_accuracy: of the integer engine on the same examples.
        latency: for batches of 1 and 64.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    images: int
    integer_layers: int
    layers: int
    calibrated_layers: int | None = None
    own_scales: int
    clean_agreement: float
    eps: float
    near_agreement: float
    near_accuracy: float
    near_integer_accuracy: float
    latency: tuple[IntegerLatency, ...]


def is_eight_bit(variant: Variant) -> bool:
    """Whether all that is quantised has 8 bits, weights and activations.

    That is not all there is: a layer can be left in fp32, and so can what a layer reads.
    """
    weights = {quantiser.bits for quantiser in variant.weight_quantisers.values()}
    quantisers = modules_of(variant.live, ActivationQuantiser)
    return weights == {BITS} and {part.bits for _, part in quantisers} == {BITS}


def _calibrated(deployed: nn.Module, variant: Variant, image: torch.Tensor) -> int:
    """Layers with quantised weights that read fp32; ``image`` is (C, H, W)."""
    channels, height, width = image.shape
    read = input_bits(deployed, (channels, height, width))
    return sum(read[name] != BITS for name in variant.weight_quantisers)


def is_available() -> bool:
    """Whether the optional packages are installed."""
    return all(importlib.util.find_spec(name) for name in _NEEDED)


def row(variant: Variant, context: Context, staged: Staged) -> dict[str, Any]:
    """What to store beside a variant: nothing, or ``integer_check`` with the check or ``skipped``.

    Args:
        variant: any; only variants of 8 bits are checked.
        context: images to calibrate and to check on.
        staged: computes a stage by name and detail.
    """
    if not is_eight_bit(variant) or context.training is None or context.calibration is None:
        return {}
    if not is_available():
        return {"integer_check": {"skipped": MISSING}}

    def run() -> dict[str, Any]:
        try:
            return check(variant, context).model_dump(mode="json")
        except torch.AcceleratorError:
            raise
        except Exception as error:  # noqa: BLE001  a check that fails must not cost the variant
            return {"skipped": f"The integer check failed: {type(error).__name__}: {error}"}

    return {"integer_check": staged("accounting", "integer check", run)}


def check(variant: Variant, context: Context) -> IntegerCheck:
    """Run a variant of 8 bits on integers.

    Args:
        variant: of 8 bits (``is_eight_bit``).
        context: with calibration and training images.
    """
    from engine.costs.onnx_int8 import integer_pair  # needs the optional packages

    assert context.training is not None
    assert context.calibration is not None
    _, held = hold_out(context.training)
    images, labels = held.images[:IMAGES], held.labels[:IMAGES]
    network = Variant(compression.behind(variant.live), variant.recipe)
    front = nn.Sequential(*compression.fronts(variant.deployed()))
    pair = integer_pair(network, _drawn(front, context.calibration))
    place = context.device
    view, deployed = variant.attack_view().to(place), variant.deployed().to(place)
    eps, near = near_boundary(view, images.to(place), labels.to(place), context.seed)
    near = near.cpu()
    expected = [_predictions(deployed, x.to(place)).cpu() for x in (images, near)]
    seen = [_drawn(front, x) for x in (images, near)]
    found = [pair.integer(x).argmax(dim=1) for x in seen]
    return IntegerCheck(
        engine=pair.engine,
        images=len(images),
        integer_layers=pair.integer_layers,
        layers=pair.layers,
        calibrated_layers=_calibrated(network.deployed(), network, seen[0][0]),
        own_scales=pair.own_scales,
        clean_agreement=_share(expected[0] == found[0]),
        eps=eps,
        near_agreement=_share(expected[1] == found[1]),
        near_accuracy=_share(expected[1] == labels),
        near_integer_accuracy=_share(found[1] == labels),
        latency=tuple(IntegerLatency(**times) for times in pair.latency(seen[0])),
    )


def _drawn(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What it says; where it is random, all draw the same of the same number of images."""
    with torch.no_grad(), forked_rng(0), arithmetic(images.device, exact=True):
        return ask(model, images)


def near_boundary(
    view: nn.Module, images: torch.Tensor, labels: torch.Tensor, seed: int
) -> tuple[float, torch.Tensor]:
    """Examples of PGD in the smallest ball that breaks a tenth of the images, and its radius.

    The examples of the largest ball, if none does.
    """
    right = _predictions(view, images) == labels
    eps, found = _EPS[0], images
    for eps in _EPS:
        with forked_rng(seed), arithmetic(images.device, exact=True):
            found = pgd_examples(
                view,
                images,
                labels,
                eps=eps,
                steps=_STEPS,
                generator=torch.Generator().manual_seed(seed),
            )
        wrong = _predictions(view, found) != labels
        if (wrong & right).sum() >= _NEAR * len(images):
            break
    return eps, found


def _predictions(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return torch.cat([_drawn(model, part).argmax(dim=1) for part in torch.split(images, IMAGES)])


def _share(hits: torch.Tensor) -> float:
    return float(hits.float().mean())
