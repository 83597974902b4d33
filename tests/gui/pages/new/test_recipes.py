"""Recipes in New: ordered, duplicated and removed by hand and undone; judged at once; presets."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import create_model
from PySide6.QtCore import Qt
from PySide6.QtGui import QUndoStack
from PySide6.QtWidgets import QComboBox, QLineEdit
from pytestqt.qtbot import QtBot

from engine import catalog
from engine.catalog import presets
from engine.host import paths
from engine.specs import choices
from gui.base.page_context import PageContext
from gui.forms.param_form import ParamForm, grouped
from gui.pages.new.method_column import MethodColumn
from gui.pages.new.page import NewPage
from gui.pages.new.recipe_block import RecipeBlock
from gui.pages.new.recipe_check import objection
from gui.shell.main_window import MainWindow

PRUNE: dict[str, Any] = {"name": "magnitude", "sparsity": 0.5}
TUNE: dict[str, Any] = {"name": "finetune", "epochs": 3}
ROUND: dict[str, Any] = {"name": "ptq", "bits": 4}
KEY, CONTROL = Qt.Key, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier


@pytest.fixture
def column(qtbot: QtBot, context: PageContext) -> MethodColumn:
    column = MethodColumn("2  Compressions", "compressions")
    column.put([])
    qtbot.addWidget(column)
    column.resize(400, 800)
    with qtbot.waitActive(column):
        column.show()
        column.activateWindow()
    column.put([{"steps": [PRUNE, TUNE, ROUND]}])
    return column


@pytest.fixture
def undo(column: MethodColumn) -> QUndoStack:
    """Takes what can be undone, as the window does."""
    stack = QUndoStack(column)
    column.change.connect(stack.push)
    return stack


def recipe(column: MethodColumn) -> RecipeBlock:
    (block,) = (block for block in column.blocks if isinstance(block, RecipeBlock))
    return block


def names(column: MethodColumn) -> list[str]:
    return [step["name"] for step in column.tables()[0]["steps"]]


def shown(column: MethodColumn) -> list[str]:
    """The steps as they stand below each other, by their numbers."""
    rows = sorted(recipe(column).rows, key=lambda row: row.y())
    assert [row.number.text() for row in rows] == [str(n) for n in range(1, len(rows) + 1)]
    return [str(row.table()["name"]) for row in rows]


def test_steps_are_moved_by_buttons(column: MethodColumn, undo: QUndoStack, qtbot: QtBot) -> None:
    with qtbot.waitSignal(column.changed):
        recipe(column).rows[2].up.click()
    assert names(column) == ["magnitude", "ptq", "finetune"]
    qtbot.waitUntil(lambda: shown(column) == ["magnitude", "ptq", "finetune"])
    undo.undo()
    assert names(column) == ["magnitude", "finetune", "ptq"]
    undo.redo()
    assert names(column) == ["magnitude", "ptq", "finetune"]
    first, *_, last = recipe(column).rows
    assert not first.up.isEnabled()
    assert first.down.isEnabled()
    assert not last.down.isEnabled()


def test_steps_are_moved_and_copied_by_the_keyboard_alone(
    column: MethodColumn, undo: QUndoStack, qtbot: QtBot
) -> None:
    row = recipe(column).rows[0]
    field = row.form.fields["sparsity"].control
    assert isinstance(field, QLineEdit)
    field.setFocus()
    qtbot.keyClick(field, KEY.Key_Down, CONTROL)
    assert names(column) == ["finetune", "magnitude", "ptq"]
    assert field.hasFocus(), "the step that is moved keeps the keyboard"
    qtbot.keyClick(field, KEY.Key_Down, CONTROL)
    qtbot.keyClick(field, KEY.Key_Down, CONTROL)
    assert names(column) == ["finetune", "ptq", "magnitude"], "the last has nothing below"
    qtbot.keyClick(field, KEY.Key_Up, CONTROL)
    qtbot.keyClick(field, KEY.Key_D, Qt.KeyboardModifier.ControlModifier)
    assert column.tables()[0]["steps"] == [TUNE, PRUNE, PRUNE, ROUND]
    for _ in range(4):
        undo.undo()
    assert column.tables()[0]["steps"] == [PRUNE, TUNE, ROUND]
    assert not undo.canUndo()


def test_what_is_removed_comes_back_with_its_parameters(
    column: MethodColumn, undo: QUndoStack
) -> None:
    recipe(column).rows[1].remove.click()
    assert names(column) == ["magnitude", "ptq"]
    # What is typed afterwards is not undone with it.
    sparsity = recipe(column).rows[0].form.fields["sparsity"].control
    assert isinstance(sparsity, QLineEdit)
    sparsity.setText("0.75")
    undo.undo()
    assert column.tables()[0]["steps"] == [{**PRUNE, "sparsity": 0.75}, TUNE, ROUND]
    recipe(column).add_button.click()
    assert len(names(column)) == 4
    undo.undo()
    assert len(names(column)) == 3


def test_a_removed_recipe_comes_back_and_its_earlier_edits_stay_undoable(
    column: MethodColumn, undo: QUndoStack
) -> None:
    recipe(column).rows[0].down.click()
    recipe(column).removed.emit()
    assert column.tables() == []
    undo.undo()
    assert names(column) == ["finetune", "magnitude", "ptq"]
    undo.undo()
    assert names(column) == ["magnitude", "finetune", "ptq"]
    undo.redo()
    undo.redo()
    assert column.tables() == []


def test_removing_the_last_step_removes_the_recipe(column: MethodColumn, undo: QUndoStack) -> None:
    for _ in range(3):
        recipe(column).rows[-1].remove.click()
    assert column.tables() == []
    for _ in range(3):
        undo.undo()
    assert column.tables()[0]["steps"] == [PRUNE, TUNE, ROUND]


def test_edits_of_another_study_are_not_undone_in_this_one(
    column: MethodColumn, undo: QUndoStack
) -> None:
    recipe(column).rows[0].down.click()
    recipe(column).rows[0].remove.click()
    recipe(column).removed.emit()
    column.put([{"steps": [ROUND]}])
    for _ in range(3):
        undo.undo()
    assert column.tables() == [{"steps": [ROUND]}]
    assert not undo.canRedo()


def test_the_undo_of_the_window_reaches_a_recipe(qtbot: QtBot, context: PageContext) -> None:
    window = MainWindow(context, "new")
    qtbot.addWidget(window)
    window.show()
    column = window._new_page().compressions
    column.put([{"steps": [PRUNE, ROUND]}])
    recipe(column).rows[0].remove.click()
    assert window.undo_stack.undoText() == "remove step 1"
    window.undo_stack.undo()
    assert column.tables() == [{"steps": [PRUNE, ROUND]}]


def test_a_wrong_order_is_one_sentence_with_what_to_change(column: MethodColumn) -> None:
    block = recipe(column)
    assert block.verdict.property("role") == "small"
    assert "magnitude 50% + finetune standard 3ep + ptq w4" in block.verdict.text()
    block.rows[2].up.click()
    block.rows[1].up.click()
    said = block.verdict.text()
    assert block.verdict.property("role") == "error"
    assert said == (
        "Magnitude cannot follow ptq, because the weights would leave their levels. "
        "Put magnitude before ptq."
    )
    block.rows[0].down.click()
    assert block.verdict.property("role") == "small"


@pytest.mark.parametrize(
    ("steps", "part"),
    [
        ([PRUNE, PRUNE], "removes nothing"),
        ([ROUND, ROUND], "Quantise once."),
        ([{**PRUNE, "sparsity": [0.9, 0.5]}, {**PRUNE, "sparsity": 0.8}], "asks for no more"),
        ([PRUNE, TUNE, {**PRUNE, "sparsity": 0.9}, ROUND], ""),
        ([{**PRUNE, "sparsity": 7}, ROUND], ""),  # the field says so
        ([{**PRUNE, "sparsity": []}], ""),
    ],
)
def test_the_rules_of_the_engine_are_told_without_its_prefix(
    steps: list[dict[str, Any]], part: str
) -> None:
    said = objection(steps)
    assert bool(said) == bool(part)
    assert part in said
    assert "recipe" not in said.lower()


def test_well_known_recipes_are_offered_and_valid(column: MethodColumn) -> None:
    offered = presets.presets()
    assert len(offered) >= 5
    for preset in offered:
        steps = tuple(choices.make_step(table) for table in preset.steps)
        choices.check_recipe(steps)
        assert preset.title
        assert preset.summary
        assert preset.paper
    menu = column.preset_button.menu()
    assert menu.isEmpty(), "it is filled when it is opened"
    menu.aboutToShow.emit()
    menu.aboutToShow.emit()  # once
    assert [action.text() for action in menu.actions()] == [preset.name for preset in offered]
    column.put([])
    menu.actions()[0].trigger()
    assert column.tables() == [{"steps": [dict(table) for table in offered[0].steps]}]
    assert column.blocks[0] is recipe(column), "not below what the study does not use"


PUBLISHED = {
    "hydra": {"prune_epochs": 20, "finetune_epochs": 100},  # Sehwag 2020
    "rap-admm": {"admm_epochs": 200, "admm_interval": 20, "retrain_epochs": 200},  # Ye 2019
    "rslad": {"epochs": 300},  # Zi 2021
    "ard": {"epochs": 200},  # Goldblum 2020
}


def test_a_recipe_trains_as_long_as_its_paper_or_says_shortened() -> None:
    """And each that is named after a paper comes as long as that, too."""
    whole, short = set[str](), set[str]()
    for preset in presets.presets():
        steps = [choices.make_step(table) for table in preset.steps]
        lacks = {
            name: epochs
            for step in steps
            for name, epochs in PUBLISHED.get(step.name, {}).items()
            if step.params[name] != epochs
        }
        names = {step.name for step in steps} & set(PUBLISHED)
        (short if lacks else whole).update(names)
        assert preset.name.endswith(", shortened") == bool(lacks or preset.shortened)
        for name, epochs in lacks.items():
            assert f"{name}={epochs}" in preset.longer
    assert {"hydra", "rap-admm", "rslad"} <= whole
    assert short == {"hydra", "rap-admm"}


def test_only_recipes_of_unknown_methods_are_left_out() -> None:
    known, offered = catalog.section("compressions"), {preset.id for preset in presets.presets()}
    for path in presets.folder().glob("*.toml"):
        preset = presets.read(path)
        assert (preset.id in offered) == all(step["name"] in known for step in preset.steps)


def test_seldom_changed_parameters_are_folded_away(qtbot: QtBot, context: PageContext) -> None:
    form = ParamForm("compressions", "finetune")
    qtbot.addWidget(form)
    form.put({"training": "trades"})
    form.show()
    seen = [name for name, field in form.fields.items() if field.isVisible()]
    shown = {"student", "training", "epochs", "lr", "eps", "attack_steps", "beta"}
    assert set(seen) == shown
    fold = form.folds["training"]
    assert len(seen) + 11 == len(form.fields)
    assert "(11)" in fold.heading.text()
    assert "closed" in fold.heading.accessibleName()
    qtbot.mouseClick(fold.heading, Qt.MouseButton.LeftButton)
    assert all(field.isVisible() for field in form.fields.values())
    fold.open(False)
    form.put({"weight_decay": 0, "optimizer": "adam"})
    assert "2 changed" in fold.heading.text(), "what is not seen is told"
    assert not fold.is_open
    form.put({"momentum": 5})
    assert fold.is_open, "what is wrong must be seen"
    form.put({})
    control = form.fields["schedule"].control
    assert isinstance(control, QComboBox)
    control.setCurrentIndex(0)
    control.activated.emit(0)
    assert "1 changed" in fold.heading.text()


@pytest.mark.parametrize("entry_id", list(catalog.section("compressions")))
def test_every_parameter_of_a_step_is_in_one_group_and_few_are_shown(entry_id: str) -> None:
    model = catalog.find("compressions", entry_id).params
    groups = grouped(model)
    listed = [name for names in groups.values() for name in names]
    assert sorted(listed) == sorted(model.model_fields)
    assert len(groups[""]) <= 12


def test_long_lists_fold_what_comes_late_but_not_what_all_trainings_have() -> None:
    own: dict[str, Any] = {f"option{n}": (int, n) for n in range(9)}
    model = create_model("Long", __base__=catalog.find("compressions", "finetune").params, **own)
    groups = grouped(model)
    assert groups["more"] == [f"option{n}" for n in range(2, 9)]
    assert {"epochs", "training", "option0"} <= set(groups[""])
    assert next(iter(groups)) == ""


def test_a_recipe_without_sense_cannot_start(qtbot: QtBot, context: PageContext) -> None:
    page = NewPage(context)
    qtbot.addWidget(page)
    page.load(paths.example_study())
    assert page.start_button.isEnabled()
    page.compressions.put([{"steps": [ROUND, PRUNE]}])
    page.compressions.changed.emit()
    assert not page.start_button.isEnabled()
    assert "cannot follow ptq" in page.verdict.text()
    recipe(page.compressions).rows[0].down.click()
    assert page.start_button.isEnabled()
