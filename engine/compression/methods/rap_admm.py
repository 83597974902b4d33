"""RAP-ADMM (Ye 2019, arXiv 1903.12561): draw towards a sparse pattern, cut, train the rest."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import nn

from engine.catalog.compressions.trained_pruning import RapAdmmParams
from engine.compression.attack_view import norms_behind
from engine.compression.context import Context
from engine.compression.layers import attach, weight_layers
from engine.compression.methods.admm import Admm, Penalty
from engine.compression.methods.patterns import Pattern, pattern_mask, project
from engine.compression.parts.mask import Mask
from engine.compression.retrain import retrain, test_images_of
from engine.errors import SpecError, TrainingError
from engine.training.objectives import PgdAt, threat_of
from engine.training.optimisation import Course
from engine.training.softening import Softening


def rap_admm(model: nn.Module, params: RapAdmmParams, context: Context) -> nn.Module:
    """Prune convolutions to a pattern and train what is left on PGD examples, in place.

    Linear layers, biases and BatchNorm stay. The last epoch under the penalty is cut; of the
    retraining the most robust epoch is kept, on held-out images unless ``selection`` says on test
    images; the published code takes the lowest mean of natural and adversarial loss on these. A
    weight that equals the threshold goes too (there it stays, but is trained no more).

    Raises:
        SpecError: there is no convolution to prune, or there are no training images, or no test
            images to choose on. All of that is said before it trains.
        TrainingError: it diverged, or a layer has nothing left.
        Cancelled: it was stopped.
    """
    cut = _cut_of(model, params)
    if params.chooses_on_test_images():
        test_images_of(context, "rap-admm")  # now, and not after the first training
    recipe = params.recipe("pgd-at", epochs=params.admm_epochs, lr=params.admm_lr, nesterov=False)
    adversarial = PgdAt(
        threat_of(recipe),  # type: ignore[arg-type]
        Softening(params.mixup, params.label_smoothing),
        clean_pass=params.passes == "as coded",
    )
    penalty = Penalty(
        layers=tuple(cut),
        project=partial(project, pattern=_pattern(params), ratio=params.ratio),
        rho=params.rho,
        growth=params.rho_growth,
        interval=params.admm_interval,
        detached=params.dual_gradient == "detached",
    )
    retrain(
        model,
        recipe,
        context,
        "rap-admm",
        stage="admm",
        objective=Admm(adversarial, penalty),
        course=periodic(params.admm_interval),
        first_candidate=params.admm_epochs,
    )
    _apply(model, cut, params)
    if params.retrain_epochs:
        recipe = params.recipe(
            "pgd-at", epochs=params.retrain_epochs, lr=params.retrain_lr, nesterov=False
        )
        start = params.warmup_lr / params.retrain_lr
        course = warmed_up(two_drops(params.retrain_epochs), params.warmup_epochs, start)
        retrain(
            model,
            recipe,
            context,
            "rap-admm",
            stage="retrain",
            objective=adversarial,
            course=course,
            on_test_images=params.chooses_on_test_images(),
        )
    return model


def _cut_of(model: nn.Module, params: RapAdmmParams) -> dict[str, str]:
    """What is drawn to the pattern, and which convolution is cut by it.

    That is the convolution itself, or of ``bn-filter`` the BatchNorm right behind it.
    """
    convs = [name for name, layer in weight_layers(model) if isinstance(layer, nn.Conv2d)]
    convs = convs if params.stem else convs[1:]
    if not convs:
        raise SpecError(
            "rap-admm: this model has no convolution to prune.",
            "Use 'magnitude' or 'hydra', which work on linear layers too.",
        )
    if params.pattern != "bn-filter":
        return {name: name for name in convs}
    pairs = norms_behind(model)
    scaled = {n: c for c, n in pairs if c in convs and model.get_submodule(n).weight is not None}
    if not scaled:
        raise SpecError(
            "rap-admm: no convolution of this model that is pruned is seen to have a BatchNorm "
            "right behind it, by whose scale bn-filter prunes.",
            "Use the pattern 'filter'.",
        )
    return scaled


def _pattern(params: RapAdmmParams) -> Pattern:
    """Of what is drawn: the scales of a BatchNorm go one by one, like single weights."""
    return "irregular" if params.pattern == "bn-filter" else params.pattern


def _apply(model: nn.Module, cut: Mapping[str, str], params: RapAdmmParams) -> None:
    """Hang the masks of the pattern on the convolutions.

    Raises:
        TrainingError: a layer has nothing left.
    """
    for name, conv in cut.items():
        drawn, layer = model.get_submodule(name), model.get_submodule(conv)
        assert isinstance(layer, nn.Conv2d)
        assert isinstance(drawn.weight, torch.Tensor)
        mask = pattern_mask(drawn.weight.detach(), _pattern(params), params.ratio)
        if not mask.any():
            raise TrainingError(
                f"rap-admm: nothing of layer {name!r} is above the threshold at rate "
                f"{params.rate:g}.",
                "Lower the rate, or choose another pattern.",
            )
        if params.pattern == "bn-filter":
            _silence(layer, drawn.weight, mask)
            mask = mask[:, None, None, None].expand_as(layer.weight).clone()
        attach(layer, Mask(mask))


@torch.no_grad()
def _silence(conv: nn.Conv2d, scale: torch.Tensor, mask: torch.Tensor) -> None:
    """Set scales to zero, and with them what they leave of a convolution's bias.

    What such a channel gives is the shift alone, whatever the filter: so the filter can go. As
    its input is 0 then, the scale gets no gradient any more and stays 0.
    """
    scale[~mask] = 0.0
    if conv.bias is not None:
        conv.bias[~mask] = 0.0


def periodic(interval: int) -> Course:
    """The published course: in each interval 1, a tenth and a hundredth, a third of it each."""

    def factor(behind: float) -> float:
        return float(0.1 ** (int(behind) % interval * 3 // interval))

    return factor


def two_drops(epochs: int) -> Course:
    """The published course: a tenth after 80 of 200 epochs, a hundredth after 150 of 200."""

    def factor(behind: float) -> float:
        return 1.0 if behind < 0.4 * epochs else 0.1 if behind < 0.75 * epochs else 0.01

    return factor


def warmed_up(course: Course, epochs: int, start: float) -> Course:
    """A course behind a linear rise to its first value (Goyal 2017, arXiv 1706.02677).

    Args:
        course: begins when the rise is over.
        epochs: of the rise; with 0 there is none.
        start: factor of the learning rate at the first step.
    """
    if not epochs:
        return course

    def factor(behind: float) -> float:
        if behind >= epochs:
            return course(behind - epochs)
        return start + (1 - start) * behind / epochs

    return factor
