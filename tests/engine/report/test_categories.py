"""Categories of the review: said by the catalogue, whatever a variant is called."""

from __future__ import annotations

from typing import Any, cast

import pytest

from engine import catalog
from engine.report.categories import COMPRESSING, UNKNOWN, category, defending_steps
from engine.specs.choices import make_step
from engine.store import ResultRow

ROBUST, PLAIN = "with robust training", "without robust training"


def row(*steps: dict[str, Any]) -> ResultRow:
    recipe = [make_step(step).model_dump(mode="json") for step in steps]
    return cast(ResultRow, {"compression": "a name says nothing", "spec": {"recipe": recipe}})


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], "uncompressed"),
        ([{"name": "magnitude"}], f"pruning, unstructured, {PLAIN}"),
        # The training of a one-shot pruning is set, but never made.
        ([{"name": "magnitude", "training": "trades"}], f"pruning, unstructured, {PLAIN}"),
        (
            [{"name": "magnitude", "schedule": "gradual", "training": "trades"}],
            f"pruning, unstructured, {ROBUST}",
        ),
        ([{"name": "filter"}], f"pruning, structured, {PLAIN}"),
        ([{"name": "channel"}], f"pruning, structured, {PLAIN}"),
        ([{"name": "nm-sparsity"}], f"pruning, semi-structured, {PLAIN}"),
        ([{"name": "hydra"}], f"pruning, unstructured, {ROBUST}"),
        ([{"name": "hydra", "training": "standard"}], f"pruning, unstructured, {PLAIN}"),
        (
            [{"name": "hydra", "prune_epochs": 0, "finetune_epochs": 0}],
            f"pruning, unstructured, {PLAIN}",
        ),
        ([{"name": "rap-admm"}], f"pruning, unstructured, {ROBUST}"),
        ([{"name": "rap-admm", "pattern": "column"}], f"pruning, structured, {ROBUST}"),
        ([{"name": "rap-admm", "eps": 0}], f"pruning, unstructured, {PLAIN}"),
        ([{"name": "kd"}], f"distillation, {PLAIN}"),
        ([{"name": "rslad"}], f"distillation, {ROBUST}"),
        ([{"name": "iad-2"}], f"distillation, {ROBUST}"),
        ([{"name": "ptq"}], f"quantisation, {PLAIN}"),
        ([{"name": "qat"}], f"quantisation, {PLAIN}"),
        ([{"name": "qat", "training": "pgd-at"}], f"quantisation, {ROBUST}"),
        ([{"name": "finetune", "training": "trades"}], "training, robust"),
        ([{"name": "finetune"}], "training, standard"),
        # The denoiser learns from examples, the network does not.
        ([{"name": "purify"}], "defence"),
        (
            [{"name": "magnitude"}, {"name": "finetune", "training": "pgd-at"}, {"name": "ptq"}],
            f"pruning + quantisation, unstructured, {ROBUST}",
        ),
        ([{"name": "ptq"}, {"name": "jpeg"}], f"quantisation + defence, {PLAIN}"),
    ],
)
def test_what_was_done_decides(steps: list[dict[str, Any]], words: str) -> None:
    assert category(row(*steps)).words == words


def test_whatever_prunes_says_in_which_shape() -> None:
    """A new step must say so: without it its category would be lost in every table."""
    for id_, entry in catalog.built_in("compressions").items():
        said = bool(entry.params().pruned_structure())
        assert said == (entry.family == "pruning"), id_


def test_whatever_defends_says_how() -> None:
    for id_, entry in catalog.built_in("compressions").items():
        assert bool(entry.params().defends_by()) == (entry.family == "defence"), id_


def test_adversarial_training_is_a_defence_and_standard_training_is_none() -> None:
    trained = row({"name": "finetune", "training": "pgd-at"}, {"name": "jpeg"})
    assert category(trained).defences == ("adversarial training", "input transformation")
    assert [step.name for step in defending_steps(trained)] == ["finetune", "jpeg"]
    assert not category(row({"name": "finetune"})).defences


def test_the_categories_of_the_review_are_families_of_the_catalogue() -> None:
    families = {entry.family for entry in catalog.built_in("compressions").values()}
    assert set(COMPRESSING) <= families


def test_a_method_that_is_not_there_is_said_to_be_so() -> None:
    gone = {"spec": {"recipe": [{"name": "mine.gone", "params": {}}]}}
    assert category(cast(ResultRow, gone)).name == UNKNOWN
    assert not defending_steps(cast(ResultRow, gone))
