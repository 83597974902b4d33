"""Whether a study can work here: its images, models and methods, before anything is queued."""

from __future__ import annotations

from engine import catalog, extensions
from engine.attacks.registry import create
from engine.catalog import ModelCard
from engine.compression.registry import method
from engine.data import ImageSet, check_fits, lesson, training_for
from engine.data import load as load_images
from engine.errors import SpecError
from engine.models.files.bundle import check as check_card
from engine.specs.choices import recipe_label
from engine.specs.recipe_rules.quantisation import refuse_quantisation
from engine.specs.study import Run, Study
from engine.store.stage_keys import learns


def check(study: Study) -> None:
    """Load the images of a study, and see whether its models fit them and what they learn from.

    Raises:
        CrumpleError: data missing or damaged, or a model does not fit.
    """
    for spec in study.runs():
        check_methods(spec)
    check_models(study, load_images(study.dataset, study.repeats[0]))
    learning = [recipe for recipe in study.recipes() if learns(recipe)]
    for model in study.models if learning else ():
        training = training_for(study.dataset, catalog.model_card(model.name))
        for recipe in learning:
            lesson(training, recipe)


def check_methods(spec: Run) -> None:
    """Load what comes from outside now: one that is broken or another should end no queue.

    Raises:
        SpecError: a method is not here, cannot be loaded, or refuses its parameters.
    """
    for attack in spec.attack.members:
        if attack.origin is not None:
            create(attack)
    for step in spec.recipe:
        if step.origin is not None:
            extensions.validated(method(step), step, "compressions")


def check_models(study: Study, images: ImageSet) -> None:
    for model in study.models:
        check_fits(images, catalog.model_card(model.name))
        _check_masks(study, catalog.model_card(model.name))
    # What is stored is found by what cards say, so they must be those of the files.
    for name in dict.fromkeys([*(model.name for model in study.models), *study.teachers()]):
        check_card(catalog.model_card(name))


def _check_masks(study: Study, card: ModelCard) -> None:
    """Levels without 0 would fill what the masks of a model hold."""
    for recipe in study.recipes() if card.masked else ():
        if refusal := refuse_quantisation(recipe, f"the masks of {card.id}"):
            reason, hint = refusal
            raise SpecError(f"compression {recipe_label(recipe)!r}: {reason}.", hint)
