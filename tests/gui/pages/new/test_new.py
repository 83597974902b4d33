"""New: what is seen is what will run."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QLineEdit
from pytestqt.qtbot import QtBot

from engine import catalog
from engine.errors import SpecError
from engine.host import paths
from engine.specs.study import Study
from gui.base import file_dialogs
from gui.base.page_context import PageContext
from gui.pages.new import draft as draft_module
from gui.pages.new.draft import MOST_RUNS, checked, seed_table
from gui.pages.new.method_block import MethodBlock
from gui.pages.new.method_column import MethodColumn
from gui.pages.new.page import NewPage
from gui.pages.new.recipe_block import RecipeBlock
from gui.shell.main_window import MainWindow
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.new_page import choose_dataset, type_seed

RECIPES = """
name = "Recipes"
seed = 7
keep_images = 20
[dataset]
name = "digits"
limit = 100
[[model]]
name = "digits-resnet"
[[compression]]
steps = [{ name = "magnitude", sparsity = [0.5, 0.75] }, { name = "ptq", bits = 4 }]
[[compression]]
name = "ptq"
bits = 8
[[compression]]
name = "ptq"
bits = 4
activation_bits = 8
[[attack]]
name = "fgsm"
eps = ["4/255", "8/255"]
"""


@pytest.fixture
def page(qtbot: QtBot, context: PageContext) -> NewPage:
    page = NewPage(context)
    qtbot.addWidget(page)
    page.show()
    return page


def block(page: NewPage, entry_id: str) -> MethodBlock:
    section = "attacks" if entry_id in catalog.section("attacks") else "compressions"
    column: MethodColumn = getattr(page, section)
    return column.block(entry_id)


def type_into(page: NewPage, entry_id: str, name: str, text: str) -> None:
    form = block(page, entry_id).form
    assert form is not None
    control = form.fields[name].control
    assert isinstance(control, QLineEdit)
    control.setText(text)
    control.textEdited.emit(text)


def test_the_example_is_ready_to_start(page: NewPage) -> None:
    page.load(paths.example_study())
    example = Study.from_toml(paths.example_study())
    assert page.study == example
    assert f"= {len(example.runs())} runs" in page.count.text()
    assert page.verdict.text() == "0 errors"
    assert page.start_button.isEnabled()


def test_recipes_and_second_instances_come_back_unchanged(page: NewPage, tmp_path: Path) -> None:
    file = tmp_path / "recipes.toml"
    file.write_text(RECIPES, "utf-8")
    page.load(file)
    assert page.study == Study.from_toml(file)
    assert [type(block) for block in page.compressions.blocks[:3]] == [
        RecipeBlock,
        MethodBlock,
        MethodBlock,
    ]


def test_start_submits_what_is_seen_and_goes_to_live(
    page: NewPage, engine: FakeEngineClient, qtbot: QtBot
) -> None:
    page.load(paths.example_study())
    with qtbot.waitSignal(page.go) as gone:
        qtbot.mouseClick(page.start_button, Qt.MouseButton.LeftButton)
    assert engine.calls == [("submit", page.study), ("pause", False)]
    assert gone.args == ["live", None]


def test_add_to_queue_does_not_start_the_queue(page: NewPage, engine: FakeEngineClient) -> None:
    page.load(paths.example_study())
    page.queue_button.click()
    assert engine.calls == [("submit", page.study)]


def test_a_bad_value_is_one_sentence_and_nothing_starts(
    page: NewPage, engine: FakeEngineClient
) -> None:
    page.load(paths.example_study())
    type_into(page, "magnitude", "sparsity", "1.2")
    assert "sparsity is 1.2" in page.verdict.text()
    assert page.verdict.text().count(".") <= 3
    assert not page.start_button.isEnabled()
    page.start()
    page.enqueue()
    assert engine.calls == []
    type_into(page, "magnitude", "sparsity", "0.5, 8/255, 0.9")
    assert page.start_button.isEnabled()
    assert "6 variants" in page.count.text()


def test_what_is_missing_is_said(page: NewPage) -> None:
    page.reset()
    assert "No model" in page.verdict.text()
    page.data.models["digits-resnet"].click()
    assert "No attack" in page.verdict.text()
    block(page, "fgsm").box.click()
    assert page.count.text() == "1 model × 1 variant × 1 attack = 1 run"


def test_several_seeds_repeat_the_study(page: NewPage, tmp_path: Path) -> None:
    page.load(paths.example_study())
    type_seed(page, "0, 1 2")
    assert page.study is not None
    assert page.study.seeds == (0, 1, 2)
    alone = Study.from_toml(paths.example_study()).count()
    assert page.study.count() == 3 * alone  # nothing of the example is trained
    assert f"× 3 seeds = {3 * alone} runs" in page.count.text()
    file = tmp_path / "repeats.toml"
    file.write_text(page.study.to_toml(), "utf-8")
    page.reset()
    assert page.data.seed.text() == "0"
    page.load(file)
    assert page.data.seed.text() == "0, 1, 2"
    assert page.study == Study.from_toml(file)


def test_second_attacks_on_what_is_trained_are_counted_and_planned(page: NewPage) -> None:
    page.load(paths.example_study())
    draft = page.draft()
    several = {
        "seeds": [4, 7],
        "compression": [{"name": "finetune"}],
        "attack": [{"name": "pgd", "eps": 0.1}],
        "model": [{"name": "digits-resnet"}],
    }
    page.open(Study.from_dict({k: v for k, v in draft.items() if k != "seed"} | several))
    counted = "1 model × 2 variants × 1 attack × 2 seeds + 2 second attacks = 6 runs"
    assert page.count.text().startswith(counted)
    model = page.plan.model
    seeds = [model.data(model.index(row, 3)) for row in range(model.rowCount())]
    assert seeds == ["4", "4", "7", "7", f"4, attack {4 + 2**31}", f"7, attack {7 + 2**31}"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x", "seed is 'x' but must be an integer"),
        ("0, x", "seeds is [0, 'x'] but must be an integer"),
        ("1.5", "seed is '1.5' but must be an integer"),
        ("1, 1", "each seed once"),
        (f"0, {2**31}", "2147483648"),
    ],
)
def test_a_bad_seed_is_one_sentence(text: str, words: str, page: NewPage) -> None:
    page.load(paths.example_study())
    type_seed(page, text)
    assert words in page.verdict.text()
    assert not page.start_button.isEnabled()
    type_seed(page, "3")
    assert page.start_button.isEnabled()


def test_worst_case_only_is_a_mode_of_the_study(page: NewPage, tmp_path: Path) -> None:
    page.load(paths.example_study())
    assert page.study is not None
    attacks = len(page.study.attack_specs())
    assert attacks > 1
    assert "mode" not in page.draft()
    page.worst_case.click()
    assert page.study.mode == "worst-case"
    assert "1 threat model =" in page.count.text()
    assert page.plan.model.rowCount() == page.study.count()
    kept = page.study
    page.reset()
    assert not page.worst_case.isChecked()
    page.open(kept)
    assert page.worst_case.isChecked()
    assert page.study == kept
    page.worst_case.click()
    assert page.study is not None
    assert len(page.study.attack_specs()) == attacks


def test_an_attack_that_counts_in_no_ball_is_told(page: NewPage) -> None:
    page.load(paths.example_study())
    page.worst_case.click()
    block(page, "cw-l2").box.click()
    assert page.study is None
    assert "no attack in L2 has an eps" in page.verdict.text()


def test_the_draft_survives_a_restart(page: NewPage, qtbot: QtBot) -> None:
    page.load(paths.example_study())
    type_into(page, "pgd", "eps", "-1")
    again = NewPage(page.context)
    qtbot.addWidget(again)
    assert again.draft() == page.draft()
    assert again.verdict.text() == page.verdict.text()


@pytest.mark.parametrize(
    "draft", ["no json", "[]", '{"attack": [{"name": "gone"}]}', '{"dataset": 3}', '{"seed": "x"}']
)
def test_a_draft_of_another_version_does_no_harm(
    context: PageContext, qtbot: QtBot, draft: str
) -> None:
    context.settings.setValue("new/draft", draft)
    page = NewPage(context)
    qtbot.addWidget(page)
    page.load(paths.example_study())
    assert page.study == Study.from_toml(paths.example_study())


def test_a_slip_of_the_finger_is_not_expanded(page: NewPage) -> None:
    page.load(paths.example_study())
    many = ", ".join(f"0.{number:04}" for number in range(1, MOST_RUNS))
    type_into(page, "pgd", "eps", many)
    assert f"at most {MOST_RUNS:,}" in page.verdict.text()


def test_second_attacks_count_towards_the_most_runs(
    page: NewPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    page.load(paths.example_study())
    draft = page.draft()
    del draft["seed"]
    tables = {"compression": [{"name": "finetune"}], "attack": [{"name": "pgd"}]}
    draft |= {**tables, "model": draft["model"][:1], "seeds": [0, 1]}
    assert checked(draft).count() == 4 + 2
    monkeypatch.setattr(draft_module, "MOST_RUNS", 5)
    with pytest.raises(SpecError, match="would be 6 runs, but at most 5"):
        checked(draft)


@pytest.mark.parametrize("text", ["9" * 5000, "1, " + "9" * 5000, "99999999999"])
def test_a_seed_of_many_digits_is_refused_in_a_sentence(page: NewPage, text: str) -> None:
    page.load(paths.example_study())
    draft = page.draft()
    del draft["seed"]
    with pytest.raises(SpecError, match=r"^study: seed") as caught:
        checked({**draft, **seed_table(text)})
    assert len(str(caught.value)) < 300


def test_the_count_before_expanding_is_the_count_after(page: NewPage) -> None:
    page.load(paths.example_study())
    draft = page.draft()
    assert len(checked(draft).runs()) == 20


def test_another_instance_and_a_recipe_add_variants(page: NewPage) -> None:
    page.load(paths.example_study())
    block(page, "ptq").button.click()
    extra = page.compressions.blocks[2]
    assert isinstance(extra, MethodBlock)
    assert extra.extra
    assert extra.form is not None
    extra.form.fields["bits"].control.setText("5")
    extra.changed.emit()
    assert "6 variants" in page.count.text()
    page.compressions.add_recipe()
    assert "6 variants" not in page.count.text() or page.study is not None
    extra.button.click()
    assert extra not in page.compressions.blocks


def test_files_are_opened_and_saved(
    page: NewPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "saved.toml"
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: target)
    page.load(paths.example_study())
    page.save_button.click()
    assert Study.from_toml(target) == page.study
    page.reset()
    monkeypatch.setattr(file_dialogs, "ask_open", lambda *_: target)
    page.open_button.click()
    assert page.study == Study.from_toml(paths.example_study())


def test_a_bad_file_leaves_the_draft_alone(
    qtbot: QtBot, context: PageContext, tmp_path: Path
) -> None:
    window = MainWindow(context, "new")
    qtbot.addWidget(window)
    window.show()
    window.load_study(paths.example_study())
    bad = tmp_path / "bad.toml"
    bad.write_text('name = "x"\n[[model]]\nname = "nope"\n', "utf-8")
    window.load_study(bad)
    bar = window.frame("new").bar
    assert bar.isVisible()
    assert bar.message is not None
    assert "'dataset'" in bar.message.text
    page = window.page()
    assert isinstance(page, NewPage)
    assert page.study == Study.from_toml(paths.example_study())
    window.load_study(paths.example_study())
    assert not bar.isVisible()


def test_own_images_need_a_path(page: NewPage, monkeypatch: pytest.MonkeyPatch) -> None:
    page.load(paths.example_study())
    choose_dataset(page, "folder")
    assert "no path" in page.verdict.text()
    monkeypatch.setattr(file_dialogs, "ask_folder", lambda *_: Path("/pictures"))
    page.data.location.choose.click()
    assert page.study is not None
    assert page.study.dataset.folder == str(Path("/pictures"))


def test_models_stand_in_the_order_of_the_study(page: NewPage, qtbot: QtBot) -> None:
    """The example names the plain model first, the catalogue does not."""
    page.load(paths.example_study())
    assert page.study is not None
    first, second = (page.data.models[model.name] for model in page.study.models)
    above = QPoint(0, 0)
    qtbot.waitUntil(lambda: first.mapTo(page, above).y() < second.mapTo(page, above).y())


def test_the_planned_runs_are_listed_where_there_is_room(page: NewPage, qtbot: QtBot) -> None:
    page.resize(1200, 900)
    page.load(paths.example_study())
    qtbot.waitUntil(page.plan.isVisible)
    assert page.study is not None
    runs = page.study.runs()
    model = page.plan.model
    shown = [
        tuple(model.index(row, column).data() for column in range(3))
        for row in range(model.rowCount())
    ]
    assert shown == [(run.model, run.compression, run.attack.label) for run in runs]
    page.resize(1200, 440)
    qtbot.waitUntil(lambda: not page.plan.isVisible())
    page.resize(1200, 900)
    qtbot.waitUntil(page.plan.isVisible)
    page.data.name.clear()
    page.data.name.textEdited.emit("")
    assert not page.plan.isVisible()


def test_what_was_said_of_an_earlier_try_goes_with_the_next(page: NewPage, qtbot: QtBot) -> None:
    page.load(paths.example_study())
    with qtbot.waitSignal(page.notify, check_params_cb=lambda message: message is None):
        page.start_button.click()
