"""Every method says in one line what it computes."""

from __future__ import annotations

import pytest

from engine import catalog
from engine.catalog.attacks.torchattacks.formulas import FORMULAS


@pytest.mark.parametrize("section", ["attacks", "compressions", "training"])
def test_every_method_has_a_formula_of_one_line(section: str) -> None:
    formulas = {
        id_: entry.formula for id_, entry in catalog.section(section).items() if id_ != "none"
    }
    assert formulas
    missing = [id_ for id_, formula in formulas.items() if not formula.strip()]
    assert not missing, f"no formula: {missing}"
    assert not [id_ for id_, formula in formulas.items() if "\n" in formula]


def test_the_library_has_no_formula_of_an_attack_that_is_not_offered() -> None:
    offered = {
        id_.removeprefix("torchattacks.")
        for id_ in catalog.section("attacks")
        if id_.startswith("torchattacks.")
    }
    assert FORMULAS.keys() == offered


def test_formulas_refer_to_ids_that_exist() -> None:
    known = catalog.section("attacks")
    words = {
        word.strip(".,;()")
        for entry in known.values()
        for word in entry.formula.split()
        if word.startswith(("torchattacks.", "apgd-", "fab-"))
    }
    assert words
    assert words <= known.keys()
