"""Forms: what goes in comes out, what is wrong is said under the field, rubbish does no harm."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PySide6.QtWidgets import QApplication, QComboBox, QLineEdit
from pytestqt.qtbot import QtBot

from engine import catalog
from engine.specs import choices
from gui.forms.fields import parse, show
from gui.forms.param_form import ParamForm

ENTRIES = [
    (section, id_) for section in ("compressions", "attacks") for id_ in catalog.section(section)
]
TABLES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("attacks", "pgd", {}),
    ("attacks", "pgd", {"eps": "8/255", "steps": 40}),
    ("attacks", "pgd", {"eps": ["4/255", "8/255"], "steps": [10, 20], "random_start": False}),
    ("attacks", "pgd", {"step_size": 0.01, "random_start": [False, True]}),
    ("attacks", "pgd", {"random_start": True, "restarts": 1}),
    ("attacks", "fgsm", {"eps": 0.15}),
    ("compressions", "magnitude", {"scope": "global"}),
    ("compressions", "magnitude", {"sparsity": [0.5, 0.9], "scope": "layer"}),
    ("compressions", "magnitude", {"sparsity": 0.9}),
    ("compressions", "ptq", {"bits": [8, 3], "activation_bits": ["none", 4]}),
)


def typed(form: ParamForm, name: str, text: str) -> str:
    """Type into a field as a person does; gives what is said under it."""
    control = form.fields[name].control
    assert isinstance(control, QLineEdit)
    control.setText(text)
    control.textEdited.emit(text)
    return form.errors[name].text()


@pytest.mark.parametrize(("section", "entry_id", "table"), TABLES)
def test_a_table_comes_back_as_it_was(
    qtbot: QtBot, section: str, entry_id: str, table: dict[str, Any]
) -> None:
    form = ParamForm(section, entry_id)
    qtbot.addWidget(form)
    form.put(table)
    assert form.values() == table
    assert not any(error.text() for error in form.errors.values())


@pytest.mark.parametrize(("section", "entry_id"), ENTRIES)
def test_an_untouched_form_asks_for_the_defaults(qtbot: QtBot, section: str, entry_id: str) -> None:
    form = ParamForm(section, entry_id)
    qtbot.addWidget(form)
    assert form.values() == {}
    make = choices.make_step if section == "compressions" else choices.make_attack
    model = catalog.find(section, entry_id).params
    assert make({"name": entry_id}).params == model().model_dump(mode="json")
    assert list(form.fields) == list(model.model_fields)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("eps", "-1", ("-1", "greater than or equal to 0")),
        ("eps", "0.1, 2", ("2", "less than or equal to 1")),
        ("eps", "abc", ("'abc'", "8/255")),
        ("eps", "1/0", ("1/0", "number")),
        ("steps", "0", ("0", "greater than or equal to 1")),
        ("steps", "2.5", ("2.5", "integer")),
        ("eps", "1e999", ("inf", "finite")),
        ("eps", "9" * 400 + "/1", ("inf", "finite")),
    ],
)
def test_a_bad_value_is_explained_under_its_field(
    qtbot: QtBot, name: str, text: str, said: tuple[str, ...]
) -> None:
    form = ParamForm("attacks", "pgd")
    qtbot.addWidget(form)
    message = typed(form, name, text)
    assert all(part in message for part in (name, *said)), message
    assert form.fields[name].control.property("invalid") is True
    assert typed(form, name, "1") == ""
    assert form.fields[name].control.property("invalid") is False


def choose(form: ParamForm, name: str, text: str) -> None:
    """Pick from a list as a person does."""
    control = form.fields[name].control
    assert isinstance(control, QComboBox)
    control.setCurrentText(text)
    control.activated.emit(control.currentIndex())


def seen(form: ParamForm) -> set[str]:
    """What is shown, folded or not."""
    return {name for name, field in form.fields.items() if not field.isHidden()}


def test_what_does_nothing_is_neither_shown_nor_written_nor_lost(qtbot: QtBot) -> None:
    form = ParamForm("compressions", "magnitude")
    qtbot.addWidget(form)
    assert seen(form) == {"sparsity", "scope", "schedule"}
    assert form.folds["training"].isHidden()
    choose(form, "schedule", "gradual")
    assert {"training", "epochs", "ramp_epochs", "momentum"} <= seen(form)
    assert not {"eps", "attack_steps", "beta"} & seen(form)
    choose(form, "training", "pgd-at")
    assert {"eps", "attack_steps", "attack_mode"} <= seen(form)
    assert "beta" not in seen(form)
    typed(form, "eps", "0.15")
    assert form.values() == {"schedule": "gradual", "training": "pgd-at", "eps": 0.15}
    choose(form, "training", "standard")
    assert form.values() == {"schedule": "gradual"}
    choose(form, "schedule", "one-shot")
    assert (seen(form), form.values()) == ({"sparsity", "scope", "schedule"}, {})
    choose(form, "schedule", "gradual")
    choose(form, "training", "trades")
    assert form.values()["eps"] == 0.15
    assert "beta" in seen(form)


def test_a_sweep_shows_what_one_of_its_values_needs(qtbot: QtBot) -> None:
    form = ParamForm("attacks", "pgd")
    qtbot.addWidget(form)
    form.put({"random_start": False})
    assert "restarts" not in seen(form)
    form.put({"random_start": [False, True]})
    assert "restarts" in seen(form)


def test_what_a_file_named_comes_back_although_it_does_nothing(qtbot: QtBot) -> None:
    form = ParamForm("compressions", "finetune")
    qtbot.addWidget(form)
    form.put({"training": "standard", "eps": 0.15})
    assert "eps" not in seen(form)
    assert form.values() == {"training": "standard", "eps": 0.15}
    form.put({"training": "standard", "eps": 15})
    assert "eps" in seen(form), "what is wrong must be seen"


def test_an_empty_field_means_the_default(qtbot: QtBot) -> None:
    form = ParamForm("attacks", "pgd")
    qtbot.addWidget(form)
    form.put({"eps": 0.2})
    assert typed(form, "eps", "") == ""
    assert form.values() == {}
    assert form.fields["eps"].control.placeholderText() == "8/255"
    assert form.fields["step_size"].control.placeholderText() == "auto"


@given(st.text(max_size=40))
def test_no_text_is_too_strange(qapp: QApplication, text: str) -> None:
    form = ParamForm("attacks", "pgd")
    typed(form, "eps", text)
    typed(form, "steps", text)
    json.dumps(form.values())
    form.deleteLater()


@given(
    st.lists(
        st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False),
        min_size=1,
        max_size=4,
    )
)
def test_numbers_survive_being_shown(values: list[float]) -> None:
    back = parse(show(values))
    back = back if isinstance(back, list) else [back]
    assert [float(catalog.as_number(item)) for item in back] == values


def test_a_path_keeps_its_spaces_and_a_fraction_needs_none(qapp: QApplication) -> None:
    assert parse("/home/me/tiny images/more 2.npz") == "/home/me/tiny images/more 2.npz"
    assert parse("8 / 255") == "8/255"
    form = ParamForm("compressions", "hydra")
    typed(form, "second_stream", "/home/me/tiny images.npz")
    assert form.values()["second_stream"] == "/home/me/tiny images.npz"
    typed(form, "second_stream", "")
    assert "second_stream" not in form.values()
    form.deleteLater()
