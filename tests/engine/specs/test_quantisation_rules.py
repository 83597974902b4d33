"""What a step that quantises refuses, by itself and in a recipe, and what it is called."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import SpecError
from engine.specs.choices import Recipe, check_recipe, make_step

BINARY = {"name": "qat", "method": "binary", "bits": 1}
DOREFA = {"name": "qat", "method": "dorefa", "bits": 2}
LSQ = {"name": "qat", "method": "lsq", "bits": 2}
QUICK = {"epochs": 1, "batch_size": 256}
PRUNE = {"name": "magnitude", "sparsity": 0.5}


def recipe(*tables: dict[str, Any]) -> Recipe:
    return tuple(make_step(table) for table in tables)


@pytest.mark.parametrize(
    ("tables", "reason"),
    [
        ([PRUNE, BINARY], "levels have no 0"),
        ([PRUNE, DOREFA], "levels have no 0"),
        ([PRUNE, {**DOREFA, "bits": 1}], "levels have no 0"),
        ([PRUNE, {"name": "finetune"}, BINARY], "cannot follow magnitude"),
        ([{"name": "ptq"}, LSQ], "qat cannot follow ptq, because the weights have their levels"),
        ([LSQ, {"name": "ptq"}], "ptq cannot follow qat, because the weights have their levels"),
        ([LSQ, LSQ], "Quantise once"),
        ([LSQ, PRUNE], "magnitude cannot follow qat, because the weights would leave"),
        ([LSQ, {"name": "finetune"}, PRUNE], "Put magnitude before qat"),
    ],
)
def test_nonsense_is_refused_with_the_reason(tables: list[dict[str, Any]], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        check_recipe(recipe(*tables))


def test_sense_is_not_refused() -> None:
    tune = {"name": "finetune"}
    for tables in ([PRUNE, LSQ], [PRUNE, tune, LSQ, tune], [BINARY, tune], [DOREFA]):
        check_recipe(recipe(*tables))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"method": "binary", "bits": 2}, "binary takes 1 bit, not bits = 2"),
        ({"method": "lsq", "bits": 1}, "lsq takes 2 to 8 bits, not bits = 1"),
        ({"method": "dorefa", "bits": 0}, "greater than or equal to 1"),
        ({"method": "dorefa", "bits": 9}, "less than or equal to 8"),
        ({**BINARY, "activation_bits": 2}, "activation_bits none or 1"),
    ],
)
def test_impossible_parameters_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SpecError, match=reason):
        make_step({"name": "qat", **changes})


def test_labels() -> None:
    def label(**changes: Any) -> str:
        return make_step({"name": "qat", **changes}).label

    assert label(method="binary", bits=1) == "qat binary w1"
    assert label(method="dorefa", bits=2, activation_bits=2) == "qat dorefa w2a2"
    assert label(method="dorefa", bits=1, activation_bits=4) == "qat dorefa w1a4"
    assert label(bits=3) == "qat lsq w3"
    assert label(bits=3, steps="channel", epochs=3) == "qat lsq w3 steps=channel standard 3ep"
    assert label(training="trades", eps=0.1).startswith("qat lsq w4 trades 10ep 0.1")
