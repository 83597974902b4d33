"""Every number, switch and word of a study is taken as it is written, or refused by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import catalog
from engine.catalog.models.cards import ModelCard, cards
from engine.catalog.strict import _kinds, as_number
from engine.errors import SpecError
from engine.specs.choices import make_attack, make_step
from tests.helpers.studies import small_study

FIELDS = [
    (section, entry.id, name)
    for section in ("attacks", "compressions", "training")
    for entry in catalog.section(section).values()
    for name in entry.params.model_fields
]

STRANGE: dict[str, Any] = {
    "true": True,
    "false": False,
    "underscore": "1_0",
    "underscores in a fraction": "1_0/255",
    "spaces": " 8 /255",
    "newline": "8/255\n",
    "other digits": "٣/255",
    "number as text": "1",
    "decimal as text": "0.5",
    "nan": math.nan,
    "inf": math.inf,
    "nan as text": "nan",
    "inf as text": "inf",
    "hexadecimal": "0x10",
    "by nothing": "1/0",
    "huge": 10**400,
    "beyond writing": 10**5000,
    "half": 0.123456789,
    "yes": "yes",
    "list": [1],
    "table": {"a": 1},
    "none of these": "no such word",
    "long": "x" * 5000,
}


def make(section: str, id_: str, name: str, value: Any) -> Any:
    if section == "attacks":
        return make_attack({"name": id_, name: value}).params[name]
    if section == "compressions":
        return make_step({"name": id_, name: value}).params[name]
    params = catalog.find(section, id_).params.model_validate({name: value})
    return getattr(params, name)


def kinds_of(section: str, id_: str, name: str) -> frozenset[type]:
    return _kinds(catalog.find(section, id_).params.model_fields[name].annotation)


def meant(value: Any) -> Any:
    return as_number(value) if isinstance(value, str) and "/" in value else value


@pytest.mark.parametrize("value", STRANGE)
def test_no_parameter_takes_a_value_for_another(value: str) -> None:
    said: list[str] = []
    for section, id_, name in FIELDS:
        kinds = kinds_of(section, id_, name)
        assert kinds, f"{id_}.{name} is no plain value"
        try:
            found = make(section, id_, name, STRANGE[value])
        except SpecError as error:
            said.append(str(error))
            continue
        except ValueError:
            continue
        assert found == STRANGE[value], (id_, name, found)
        assert type(STRANGE[value]) in kinds or kinds == {float} or float in kinds, (id_, name)
        assert isinstance(found, bool) == (bool in kinds and isinstance(STRANGE[value], bool))
    assert all(len(one) < 400 for one in said)


@st.composite
def written(draw: st.DrawFn) -> tuple[str, str, str, Any]:
    values = st.one_of(
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=12),
        st.builds("{}/{}".format, st.integers(0, 300), st.integers(-1, 300)),
        st.sampled_from(list(STRANGE.values())),
        st.none(),
    )
    return (*draw(st.sampled_from(FIELDS)), draw(values))


@settings(max_examples=300, deadline=None)
@given(written())
def test_what_is_accepted_is_what_was_written_and_within_bounds(
    case: tuple[str, str, str, Any],
) -> None:
    section, id_, name, value = case
    try:
        found = make(section, id_, name, value)
    except (SpecError, ValueError):
        return
    assert found == meant(value)
    assert isinstance(found, bool) == isinstance(value, bool)
    for bound in catalog.find(section, id_).params.model_fields[name].metadata:
        if found is not None and isinstance(bound, Ge | Gt | Le | Lt):
            assert _holds(found, bound)


def _holds(value: float, bound: Any) -> bool:
    match bound:
        case Ge(limit):
            return bool(value >= limit)
        case Gt(limit):
            return bool(value > limit)
        case Le(limit):
            return bool(value <= limit)
        case _:
            return bool(value < bound.lt)


@pytest.mark.parametrize(
    ("attack", "said"),
    [
        ({"eps": True}, "eps is true but must be a number, not true or false"),
        ({"steps": True}, "steps is true but must be an integer, not true or false"),
        ({"steps": "10"}, "steps is '10' but must be an integer, not text"),
        ({"steps": 2.5}, "steps is 2.5 but must be an integer"),
        ({"random_start": 1}, "random_start is 1 but must be true or false, not a number"),
        ({"random_start": "yes"}, "random_start is 'yes' but must be true or false, not text"),
        ({"eps": "1_0/255"}, "eps is '1_0/255' but is not a number or a fraction such as 8/255"),
        ({"eps": " 8 /255"}, "eps is ' 8 /255' but is not a number or a fraction"),
        ({"eps": "0.1"}, "eps is '0.1' but must be written without quotes"),
        ({"eps": "nan"}, "eps is 'nan' but is not a number"),
        ({"eps": math.inf}, "eps is inf but must be a finite number"),
        ({"eps": 10**400}, "but is too large"),
        ({"eps": 10**5000}, "but is too large"),
        ({"eps": "1/0"}, "eps is '1/0' but is not a number or a fraction"),
    ],
)
def test_the_error_names_field_value_and_what_is_allowed(attack: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        make_attack({"name": "pgd", **attack})
    assert said in str(caught.value)


def test_whole_numbers_may_have_a_point_and_numbers_none() -> None:
    assert make_attack({"name": "pgd", "steps": 3.0, "eps": 1}).params["steps"] == 3
    assert make_attack({"name": "pgd", "eps": "8/255"}).eps == 8 / 255
    assert make_attack({"name": "pgd", "eps": "1.5e0/30"}).eps == 0.05


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"seed": True}, "seed is true but must be an integer"),
        ({"seed": "1"}, "seed is '1' but"),
        ({"seed": 2**31}, "seed is 2147483648 but"),
        ({"keep_images": True}, "keep_images is true but"),
        ({"keep_images": 10**30}, "keep_images is 1000000000000000000000000000000 but"),
        ({"name": True}, "name is true but must be text"),
        ({"name": 3}, "name is 3 but must be text"),
        ({"dataset": {"name": "digits", "limit": True}}, "limit is true but"),
        ({"dataset": {"name": "digits", "limit": 10**400}}, "is too large"),
        ({"dataset": {"name": "digits", "train_limit": "5"}}, "train_limit is '5' but"),
        ({"dataset": {"folder": "x", "crop": True}}, "crop is true but"),
        ({"dataset": {"folder": 5}}, "folder is 5 but must be text"),
        ({"model": [{"name": True}]}, "name is true but must be text"),
    ],
)
def test_what_stands_around_the_parameters_is_as_strict(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        small_study(**changes)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"classes": True}, {"shape": [True, 8, 8]}, {"parameters": "5"}]
)
def test_cards_of_models_are_as_strict(change: dict[str, Any]) -> None:
    card = cards()["digits-resnet"].model_dump()
    assert ModelCard.model_validate(card)
    with pytest.raises(ValueError, match=next(iter(change))):
        ModelCard.model_validate(card | change)
