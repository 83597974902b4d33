"""A variant: a base model after the steps of a recipe, and what is made from it."""

from __future__ import annotations

import copy
from dataclasses import dataclass

from torch import nn

from engine import extensions
from engine.catalog.compressions.defences import FAMILY as DEFENCE
from engine.compression.attack_view import fold_batch_norm
from engine.compression.context import Context
from engine.compression.layers import bake, hold_zeros, modules_of, on_weight, weight_layers
from engine.compression.parts.base import ActivationQuantiser, WeightQuantiser
from engine.compression.parts.front import make_naive
from engine.compression.registry import method
from engine.errors import SpecError
from engine.models.attention import open_attention
from engine.models.channels_last import channels_last
from engine.models.denormals import zero_denormals
from engine.specs.choices import Recipe, Step, check_recipe


@dataclass(frozen=True, eq=False)
class Variant:
    """A base model after a recipe.

    Attributes:
        live: masks and quantisers hang on the weights and keep acting while it is trained.
        recipe: the steps that made it; empty for the base model.
    """

    live: nn.Module
    recipe: Recipe

    @property
    def weight_quantisers(self) -> dict[str, WeightQuantiser]:
        """The quantiser of each layer whose weight is quantised."""
        chains = {name: on_weight(layer) for name, layer in weight_layers(self.live)}
        return {
            name: last
            for name, chain in chains.items()
            if chain and isinstance(last := chain[-1], WeightQuantiser)
        }

    @property
    def activation_bits(self) -> int | None:
        """Bits of the activations that are quantised, None if all are fp32.

        Only what leaves a ReLU is: a layer behind anything else reads fp32
        (``accounting.input_bits``).
        """
        found = [module for _, module in modules_of(self.live, ActivationQuantiser)]
        return int(found[0].bits) if found else None  # type: ignore[arg-type]

    @property
    def defends(self) -> bool:
        """Whether a step of its recipe is a defence."""
        return any(step.family == DEFENCE for step in self.recipe)

    def deployed(self) -> nn.Module:
        """What would be shipped: a frozen copy in eval mode with plain weights, none denormal."""
        model = copy.deepcopy(self.live)
        bake(model)
        zero_denormals(model)
        return model.eval().requires_grad_(False)

    def attack_view(self) -> nn.Module:
        """An exact twin of ``deployed()`` that is faster to differentiate.

        BatchNorm is folded and the weights lie channels-last. With quantised activations it is
        the same graph: both move the last bit of an activation, which can flip a rounding and
        so change the logits by a whole level.
        """
        model = self.deployed()
        if self.activation_bits is None:
            fold_batch_norm(model)
            zero_denormals(model)
            channels_last(model)
        return model

    def naive_view(self) -> nn.Module:
        """A twin of ``deployed()`` as somebody searches it who does not adapt to its defences."""
        model = self.deployed()
        make_naive(model)
        return model


def start(model: nn.Module) -> Variant:
    """The variant ``none`` of a base model: a copy on whose weights its own masks hang."""
    live = open_attention(copy.deepcopy(model).eval())
    hold_zeros(live)
    return Variant(live, ())


def apply(model: nn.Module, recipe: Recipe, context: Context) -> Variant:
    """Compress a copy of a base model.

    Args:
        model: images in [0,1] to logits; stays as it is.
        recipe: the steps, in order; empty gives the variant ``none``.
        context: images, seed and who watches.

    Raises:
        Cancelled: the context's watcher said so.
        TrainingError: a step that trains diverged.
        SpecError: the steps do not go together, or one cannot work on this model.
    """
    check_recipe(recipe)
    variant = start(model)
    if recipe and not weight_layers(variant.live):
        raise SpecError(
            "The network cannot be compressed: none of its weights lies in a convolution "
            "(torch.nn.Conv2d) or a linear layer.",
            "It can be attacked as it is, as the variant 'none'.",
        )
    for step in recipe:
        variant = apply_step(variant, step, context)
    return variant


def apply_step(variant: Variant, step: Step, context: Context) -> Variant:
    """Take one more step; the variant it starts from is used up.

    Raises:
        Cancelled: the context's watcher said so.
        TrainingError: a step that trains diverged.
        SpecError: the step cannot work on this model.
    """
    found = method(step)
    params = extensions.validated(found, step, "compressions")
    live = found.apply(variant.live, params, context)
    if not isinstance(live, nn.Module):
        raise SpecError(f"The step {step.name!r} gives {type(live).__name__}, no network.")
    return Variant(live.eval(), (*variant.recipe, step))
