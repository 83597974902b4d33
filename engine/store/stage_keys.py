"""The stages of a run and their content keys; torch-free.

A key covers what a stage was made from and the version of the code that made it, so equal
keys mean equal results but for the order in which devices add, and a stored stage can be
reused. Raise a version whenever the numbers of that stage can change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from engine import catalog
from engine.catalog.worst_case import WORST_CASE
from engine.specs.choices import AttackSpec, Choice, Recipe, Step
from engine.specs.study import Run, content_key


class RunKeys(NamedTuple):
    """The content keys of a run."""

    run: str
    variant: str
    data: str


STAGE_VERSIONS = {
    "data": 1,
    "variant": 4,
    "step": 1,
    "diagnostics": 7,
    "black-box": 3,
    "naive": 1,
    "attack": 5,
    "transfer": 1,
}

_LATER: dict[str, object] = {
    "attack_start": "in range",
    "cw-l2.form": "tightened",
    "ddn.form": "tightened",
    "fmn.form": "tightened",
    "selection": "held-out",
    "hydra.passes": "as published",
    "hydra.second_stream": "",
    "rap-admm.passes": "as published",
    "rap-admm.label_smoothing": 0.0,
    "rap-admm.mixup": 0.0,
    "rap-admm.warmup_epochs": 0,
    "rap-admm.warmup_lr": 1e-4,
}
"""Parameters of methods that came later, with the value that says what was done before them.

Of every method, or of the one that is named. With that value they are no part of a key, so what
was stored before is found again.
"""


def learns(recipe: Recipe) -> bool:
    """Whether a step of a recipe looks at training images."""
    return any(step.settings.needs_images() for step in recipe)


def run_keys(
    run: Run,
    data_fingerprint: str,
    model_fingerprint: str,
    precision: str,
    training_fingerprint: str = "",
    training_precision: str = "fp32",
) -> RunKeys:
    """The keys of a run, from what it asks for and the fingerprints of what it starts from.

    Args:
        run: what is asked for.
        data_fingerprint: of the very images attacked (subset and order included).
        model_fingerprint: of the base model's weights.
        precision: ``fp32`` or ``bf16``: how the search computes.
        training_fingerprint: of the images that the recipe learns from and of how they may be
            changed (``ImageSet.lesson``); empty if it learns from none.
        training_precision: ``fp32`` or ``bf16``: what ``auto`` means to a step that trains, on
            the device that would.
    """
    data = data_key(run, data_fingerprint)
    variant = variant_key(run, model_fingerprint, training_fingerprint, training_precision)
    return RunKeys(run_key(run, data, variant, precision), variant, data)


def data_key(run: Run, data_fingerprint: str) -> str:
    """The key of the images that a run attacks, of which it keeps some."""
    return content_key("data", STAGE_VERSIONS["data"], data_fingerprint, run.keep_images)


def run_key(run: Run, data: str, variant: str, precision: str) -> str:
    """The key of a run from those of its images and its variant."""
    return content_key(
        "attack",
        STAGE_VERSIONS["attack"],
        data,
        variant,
        _identity(run.attack),
        run.seed_of_attack,
        precision,
    )


def variant_key(
    run: Run,
    model_fingerprint: str,
    training_fingerprint: str = "",
    training_precision: str = "fp32",
) -> str:
    """The key of a base model after a recipe; of a prefix too, with the run cut to it.

    The training images count only if the recipe learns from them, and what ``auto`` means for
    the precision only if a step trains so and it is not fp32.
    """
    steps = [{**_table(step), "teachers": _teachers(step)} for step in run.recipe]
    learned = [training_fingerprint] if learns(run.recipe) else []
    if training_precision != "fp32" and any(map(_trains_as_device_likes, run.recipe)):
        learned.append(training_precision)
    return content_key(
        "variant",
        STAGE_VERSIONS["variant"],
        model_fingerprint,
        steps,
        run.seed_of_variant if steps else 0,
        *learned,
    )


def _identity(choice: Choice) -> dict[str, object]:
    """A step or an attack as it counts in a key: from outside, the very code counts too."""
    table = choice.to_table()
    if choice.name == WORST_CASE:
        members = table["attacks"]
        table["attacks"] = [
            {**one, "params": without_later(one["name"], one["params"], one.get("origin"))}
            for one in members
        ]
    origin = {"origin": choice.origin.model_dump()} if choice.origin else {}
    return {**without_later(choice.name, table, choice.origin), **origin}


def without_later(method: str, params: Mapping[str, Any], origin: object) -> dict[str, Any]:
    """The parameters of a step or an attack, as they were stored before some of them came.

    Those go that say what was done before they came, so that both are the same thing. A method
    from outside had its own from the first, whatever they are called.

    Args:
        method: its id.
        params: its parameters.
        origin: of a method from outside; None is built in.
    """
    if origin is not None:
        return dict(params)

    def as_before(name: str, value: object) -> bool:
        return any(one in _LATER and _LATER[one] == value for one in (name, f"{method}.{name}"))

    return {name: value for name, value in params.items() if not as_before(name, value)}


def _trains_as_device_likes(step: Step) -> bool:
    return step.settings.needs_images() and step.params.get("precision") == "auto"


def _table(step: Step) -> dict[str, object]:
    """A step as it counts in a key."""
    table = _identity(step)
    if step.origin is None and step.params.get("lr", 0) is None:
        table["lr"] = step.settings.rate  # type: ignore[attr-defined]
    return table


def _teachers(step: Step) -> list[str]:
    """What tells the models that a step names as teachers."""
    names = [value for name, value in step.params.items() if name.startswith("teacher")]
    known = catalog.section("models")
    return [catalog.model_card(name).basis for name in names if name in known]


def step_key(variant_key: str) -> str:
    """The key of the record of a recipe's last step."""
    return content_key("step", STAGE_VERSIONS["step"], variant_key)


def recipe_key(variant_key: str) -> str:
    """The key of the list of a recipe's step keys, which is there once its first step begins."""
    return content_key("recipe", variant_key)


def diagnostics_key(variant_key: str, data_key: str, version: int | None = None) -> str:
    """The key of a variant's gate on this data, of today's version or an earlier one."""
    version = STAGE_VERSIONS["diagnostics"] if version is None else version
    return content_key("diagnostics", version, variant_key, data_key)


def survivors_key(
    run_key: str, rival: AttackSpec, places: Sequence[int], *, naive: bool = False
) -> str:
    """The key of trying another attack, or the naive form of the same, on images of a run."""
    kind = "naive" if naive else "black-box"
    version = STAGE_VERSIONS[kind]
    return content_key(kind, version, run_key, _identity(rival), list(places))


def transfer_key(source_run: str, target_variant: str) -> str:
    """The key of judging the examples of a run on a variant."""
    return content_key("transfer", STAGE_VERSIONS["transfer"], source_run, target_variant)
