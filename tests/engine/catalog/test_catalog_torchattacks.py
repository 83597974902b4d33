"""The catalogue against the installed library: no class and no parameter is forgotten."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torchattacks

from engine import catalog
from engine.attacks.torchattacks.adapter import PREFIX, library_values
from engine.errors import SpecError
from engine.specs.choices import make_attack
from engine.specs.study import Study

ENTRIES = {
    id_.removeprefix(PREFIX): entry
    for id_, entry in catalog.section("attacks").items()
    if id_.startswith(PREFIX)
}
OURS = {"self", "model", "verbose", "seed", "n_classes"}


def test_every_attack_of_the_library_has_an_entry() -> None:
    attack = torchattacks.FGSM.__mro__[1]
    classes = {
        name
        for name, found in vars(torchattacks).items()
        if inspect.isclass(found) and issubclass(found, attack)
    }
    assert classes == set(torchattacks.__all__)
    assert set(ENTRIES) == classes - set(torchattacks.__wrapper__)
    assert torchattacks.__version__ == "3.5.1"


@pytest.mark.parametrize("name", ENTRIES)
def test_every_parameter_has_the_librarys_name_and_default(name: str) -> None:
    signature = inspect.signature(getattr(torchattacks, name).__init__)
    theirs = {key: one.default for key, one in signature.parameters.items() if key not in OURS}
    assert library_values(make_attack(PREFIX + name).params) == theirs


@pytest.mark.parametrize("name", ENTRIES)
def test_every_field_can_be_shown_in_a_form(name: str) -> None:
    entry = ENTRIES[name]
    assert entry.title == f"torchattacks {name}"
    assert entry.summary.endswith(".")
    assert "arXiv" in entry.paper
    for field, info in entry.params.model_fields.items():
        assert info.title, field
        assert info.description.endswith("."), field
        if info.annotation in (int, float):
            low, high = (
                any(hasattr(rule, key) for rule in info.metadata for key in keys)
                for keys in (("ge", "gt"), ("le", "lt"))
            )
            assert low, field
            assert high, field


@pytest.mark.parametrize(
    ("table", "norm", "eps"),
    [
        ({"name": "PGD", "eps": "4/255"}, "Linf", 4 / 255),
        ({"name": "PIFGSM", "max_epsilon": "4/255"}, "Linf", 4 / 255),
        ({"name": "PIFGSMPP"}, "Linf", 16 / 255),
        ({"name": "PGDRSL2"}, "L2", 1.0),
        *(
            ({"name": name, "norm": norm, "eps": 0.5}, norm, 0.5)
            for name in ("APGD", "APGDT", "FAB", "Square", "AutoAttack")
            for norm in ("Linf", "L2")
        ),
        *(({"name": name}, "L2", None) for name in ("CW", "DeepFool", "EADEN")),
        *(
            ({"name": name}, "", None)
            for name in ("EADL1", "SparseFool", "OnePixel", "Pixle", "JSMA", "GN", "VANILA")
        ),
    ],
)
def test_threat_models(table: dict[str, Any], norm: str, eps: float | None) -> None:
    spec = make_attack({**table, "name": PREFIX + table["name"]})
    assert (spec.norm, spec.eps) == (norm, eps)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"name": "EADEN", "max_iterations": 9}, "max_iterations is 9"),
        ({"name": "EADL1", "max_iterations": 9}, "max_iterations is 9"),
        ({"name": "FAB", "norm": "L1"}, "norm is 'L1'"),
        ({"name": "Square", "eps": 2}, "eps up to 1 in Linf"),
        ({"name": "PGDRS", "noise_batch_size": 9, "batch_max": 8}, "at least noise_batch_size 9"),
        ({"name": "DIFGSM", "resize_rate": 1}, "below or above 1"),
        ({"name": "Pixle", "x_dimensions": "10-2"}, "begin with the smaller"),
        ({"name": "Pixle", "x_dimensions": "0-2"}, "x_dimensions is '0-2'"),
        ({"name": "Pixle", "y_dimensions": 3}, "y_dimensions is 3"),
        ({"name": "PGD", "seed": 3}, "no parameter 'seed'"),
    ],
)
def test_what_the_library_would_trip_over_is_no_study(table: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        make_attack({**table, "name": PREFIX + table["name"]})
    assert message in str(caught.value)


def test_spans_survive_a_study_file_and_can_be_swept() -> None:
    attack = {"name": "torchattacks.Pixle", "x_dimensions": ["2-3", "4-4"]}
    study = Study.from_dict(
        {
            "name": "s",
            "dataset": {"name": "digits"},
            "model": [{"name": "digits-resnet"}],
            "attack": [attack],
        }
    )
    one, other = study.attack_specs()
    assert library_values(one.params)["x_dimensions"] == (2, 3)
    assert library_values(other.params)["x_dimensions"] == (4, 4)
    assert make_attack(one.to_table()) == one


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("CW", "cw-l2"),
        ("DeepFool", "deepfool"),
        ("AutoAttack", "autoattack"),
        ("APGD", "apgd-ce"),
        ("APGDT", "apgd-t"),
        ("FAB", "fab-t"),
        ("Square", "square"),
        ("SPSA", "square"),
        ("PGD", "pgd"),
        ("PGDL2", "pgd-l2"),
        ("PGDRS", "pgd"),
        ("PGDRSL2", "pgd-l2"),
    ],
)
def test_entries_that_mislead_name_what_does_not(name: str, better: str) -> None:
    assert f" {better} " in ENTRIES[name].summary.replace(",", " ").replace(".", " ") + " "
    assert better in catalog.section("attacks")
