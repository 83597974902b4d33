"""The pickers of New stay calm with many methods: search, groups, keyboard, estimate."""

from __future__ import annotations

import json
import platform
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from engine import catalog
from engine.host import paths
from engine.specs.choices import make_step
from engine.specs.study import Study
from engine.store import Writer
from engine.store.environments import environment_id
from gui.base.page_context import PageContext
from gui.forms.param_form import ParamForm
from gui.pages.new import page as page_module
from gui.pages.new.method_block import MethodBlock
from gui.pages.new.method_column import MethodColumn
from gui.pages.new.method_group import families, matches
from gui.pages.new.page import NewPage
from gui.pages.new.time_estimate import (
    NO_ESTIMATE,
    UNKNOWN_TRAINING,
    Paces,
    duration_words,
    estimate,
    training_seconds,
)
from gui.shell.main_window import MainWindow
from tests.helpers.fake_results import FakeResults

ATTACKS = list(catalog.section("attacks"))
KEY = Qt.Key


@pytest.fixture
def column(qtbot: QtBot, context: PageContext) -> MethodColumn:
    column = MethodColumn("3  Attacks", "attacks")
    column.put([])
    qtbot.addWidget(column)
    column.resize(360, 700)
    column.show()
    return column


def shown(column: MethodColumn) -> list[str]:
    """The methods that are seen, from above."""
    visible = [b for b in column.blocks if isinstance(b, MethodBlock) and b.isVisible()]
    visible.sort(key=lambda block: block.mapTo(column, block.rect().topLeft()).y())
    return [block.entry_id for block in visible]


def current(column: MethodColumn) -> str:
    (block,) = [block for block in column.findChildren(MethodBlock) if block.property("current")]
    return block.entry_id


def press(qtbot: QtBot, column: MethodColumn, *keys: Qt.Key) -> None:
    for key in keys:
        qtbot.keyClick(column.search, key)


def test_only_what_is_open_is_built(column: MethodColumn) -> None:
    assert len(ATTACKS) > 12
    assert 0 < len(column.blocks) < len(ATTACKS) / 2
    assert not column.findChildren(ParamForm), "a form is built when its method is ticked"


def test_every_method_is_in_one_group_and_libraries_come_last(column: MethodColumn) -> None:
    listed = [entry_id for group in column.groups for entry_id in group.entry_ids]
    assert sorted(listed) == sorted(ATTACKS)
    libraries = [group.family.startswith("torchattacks") for group in column.groups]
    assert libraries == sorted(libraries)
    order = list(families(["square", "torchattacks.PGD", "ddn", "autoattack"], "attacks"))
    assert [id_.split(",")[0].split(" ")[0] for id_ in order] == [
        "ensemble",
        "minimum",
        "gradient-free",
        "torchattacks",
    ]


def test_groups_stand_still_while_methods_leave_them() -> None:
    order = list(families(ATTACKS, "attacks"))
    fewer = list(families([id_ for id_ in ATTACKS if id_ not in ("fgsm", "pgd")], "attacks"))
    assert fewer == [family for family in order if family in fewer]


def test_long_names_of_groups_give_way_in_a_narrow_column(
    column: MethodColumn, qtbot: QtBot
) -> None:
    column.resize(250, 700)
    qtbot.waitUntil(lambda: column.width() == 250)
    column.grab()
    assert column.area.widget().width() <= column.area.viewport().width()
    for group in column.groups:
        assert group.text().endswith(f"({len(group.entry_ids)})")
        assert group.accessibleName().casefold().startswith(group.family.casefold())


def test_a_group_opens_and_closes_but_what_is_ticked_stays(
    column: MethodColumn, qtbot: QtBot
) -> None:
    group = next(group for group in column.groups if "ddn" in group.entry_ids)
    assert "ddn" not in shown(column)
    qtbot.mouseClick(group, Qt.MouseButton.LeftButton)
    assert set(group.entry_ids) <= set(shown(column))
    assert "open" in group.accessibleName()
    block = column.block("ddn")
    with qtbot.waitSignal(column.changed):
        block.box.click()
    assert "1 ticked" in group.text()
    group.click()
    assert [id_ for id_ in shown(column) if id_ in group.entry_ids] == ["ddn"]
    assert "closed" in group.accessibleName()
    assert column.tables() == [{"name": "ddn"}]


def test_typing_filters_across_the_groups(column: MethodColumn, qtbot: QtBot) -> None:
    qtbot.keyClicks(column.search, "apgd l2")
    listed = shown(column)
    expected = [id_ for id_ in ATTACKS if matches(catalog.find("attacks", id_), "apgd l2")]
    assert sorted(listed) == sorted(expected)
    assert {"apgd-ce", "apgd-t"} <= set(listed)
    assert "square" not in listed
    for group in column.groups:
        assert group.isVisible() == bool(set(group.entry_ids) & set(listed))
    press(qtbot, column, KEY.Key_Escape)
    assert column.search.text() == ""
    assert all(group.isVisible() for group in column.groups)


@pytest.mark.parametrize("word", ["Carlini", "1608.04644", "CW-L2", "minimum NORM"])
def test_names_authors_and_families_are_searched(word: str) -> None:
    assert matches(catalog.find("attacks", "cw-l2"), word)
    assert not matches(catalog.find("attacks", "fgsm"), word)


def test_the_keyboard_alone_adds_attacks(column: MethodColumn, qtbot: QtBot) -> None:
    qtbot.keyClicks(column.search, "apgd")
    listed = shown(column)
    assert current(column) == listed[0]
    press(qtbot, column, KEY.Key_Up)
    assert current(column) == listed[0], "the first has nothing above"
    press(qtbot, column, KEY.Key_Down, KEY.Key_Down)
    assert current(column) == listed[2]
    with qtbot.waitSignal(column.changed):
        press(qtbot, column, KEY.Key_Return)
    assert [table["name"] for table in column.tables()] == [listed[2]]
    with qtbot.assertNotEmitted(column.changed):
        press(qtbot, column, KEY.Key_Return)
    assert len(column.tables()) == 1, "Enter adds; it does not take away"
    qtbot.keyClicks(column.search, "deepfool")  # replaces what was searched before
    press(qtbot, column, *[KEY.Key_Down] * 50, KEY.Key_Return)
    assert len(column.tables()) == 2
    press(qtbot, column, KEY.Key_Escape)
    assert {table["name"] for table in column.tables()} <= set(shown(column))


def test_the_arrows_go_through_what_is_open_without_a_search(
    column: MethodColumn, qtbot: QtBot
) -> None:
    press(qtbot, column, KEY.Key_Down, KEY.Key_Down)
    assert current(column) == shown(column)[1]


def test_an_empty_result_says_so(column: MethodColumn, qtbot: QtBot) -> None:
    assert not column.nothing.isVisible()
    qtbot.keyClicks(column.search, "no such thing")
    assert column.nothing.isVisible()
    assert "no such thing" in column.nothing.text()
    press(qtbot, column, KEY.Key_Down, KEY.Key_Return)
    assert column.tables() == []
    press(qtbot, column, KEY.Key_Escape)
    assert not column.nothing.isVisible()


def test_a_further_instance_stands_below_the_first(column: MethodColumn) -> None:
    first = column.block("pgd")
    first.button.click()
    blocks = [b for b in column.blocks if isinstance(b, MethodBlock)]
    extra = blocks[blocks.index(first) + 1]
    assert (extra.entry_id, extra.extra) == ("pgd", True)
    assert len(column.tables()) == 2


def test_few_methods_need_neither_search_nor_groups(qtbot: QtBot, context: PageContext) -> None:
    column = MethodColumn("2  Compressions", "compressions")
    column.put([])
    qtbot.addWidget(column)
    column.show()
    few = len(catalog.section("compressions")) <= 9
    assert bool(column.groups) is column.search.isVisible() is not few


def test_the_details_panel_describes_what_is_looked_at(qtbot: QtBot, context: PageContext) -> None:
    window = MainWindow(context, "new")
    qtbot.addWidget(window)
    window.details.show()
    window.show()
    page = window.page()
    assert isinstance(page, NewPage)
    qtbot.keyClicks(page.attacks.search, "apgd-t")
    entry = catalog.find("attacks", "apgd-t")
    assert window.details.title.text() == entry.title
    texts = {label.text() for label in window.details.findChildren(QLabel)}
    assert {entry.summary, entry.paper, "targets"} <= texts
    window.details.tags.editingFinished.emit()  # as when it is hidden with the keyboard in it
    context.client.rows_changed.emit()
    assert window.details.title.text() == entry.title
    window.show_page("runs")
    assert window.details.title.text() != entry.title


def study(**changes: Any) -> Study:
    return Study.from_dict(
        {
            "name": "s",
            "dataset": {"name": "digits", "limit": 100},
            "model": [{"name": "digits-resnet"}],
            "compression": [{"name": "ptq", "bits": [4, 8]}],
            "attack": [{"name": "fgsm", "eps": 0.15}, {"name": "pgd", "eps": 0.15, "steps": 9}],
            **changes,
        }
    )


def pace(attack: str, seconds: float, **changes: Any) -> dict[str, Any]:
    row = {"dataset": "digits", "model": "digits-resnet", "n": 50, "platform": "", "device": ""}
    return {**row, "attack": attack, "seconds": seconds, **changes}


def test_the_estimate_multiplies_what_stored_runs_took() -> None:
    fgsm, pgd = (spec.label for spec in study().attack_specs())
    rows = [pace(fgsm, 5.0), pace(fgsm, 7.0), pace(fgsm, 6.0), pace(pgd, 54.0)]
    # 3 variants x 100 images x (6 + 54) / 50 seconds.
    assert estimate(study(), Paces(rows)) == "about 6 min on this machine"
    assert estimate(study(), Paces(rows[:3])) == f"more than 40 s; {NO_ESTIMATE} for 3 of 6 runs"
    other = pace(fgsm, 5000.0, model="digits-resnet-at")
    assert estimate(study(), Paces([*rows, other])) == "about 6 min on this machine"
    assert "more than 8.3 h" in estimate(study(), Paces([other])), "better than nothing"


def test_a_worst_case_takes_at_most_what_its_attacks_take() -> None:
    worst = study(mode="worst-case")
    fgsm, pgd = (one.label for one in worst.attack_specs()[0].members)
    rows = [pace(fgsm, 6.0), pace(pgd, 54.0)]
    assert estimate(worst, Paces(rows)) == "at most about 6 min on this machine"
    assert estimate(worst, Paces(rows[:1])) == NO_ESTIMATE
    measured = pace(worst.attack_specs()[0].label, 15.0)
    assert estimate(worst, Paces([*rows, measured])) == "about 2 min on this machine"


def test_the_estimate_of_repeats_counts_every_training_and_second_attacks() -> None:
    several = study(seeds=[0, 1, 2, 3], **TRAINED)
    fgsm, pgd = (spec.label for spec in several.attack_specs())
    rows = [pace(fgsm, 5.0), pace(pgd, 50.0)]
    # 4 seeds x 2 variants x 100 images x (0.1 + 1), 4 second attacks with pgd, 4 x 30 epochs.
    found = estimate(several, Paces(rows, [trained(10.0, 1)]))
    assert (
        found == f"about {duration_words(880 + 400 + 1200)} on this machine, 20 min of it training"
    )
    assert training_seconds(several, Paces([], [trained(10.0, 1)])) == [300.0] * 4


def test_without_runs_there_is_no_claim() -> None:
    assert estimate(study(), Paces()) == NO_ESTIMATE
    fgsm = study().attack_specs()[0].label
    assert estimate(study(), Paces([pace(fgsm, 5.0, dataset="other")])) == NO_ESTIMATE


TUNED = {"name": "finetune", "training": "trades", "epochs": 30}
TRAINED = {"compression": [{"steps": [{"name": "magnitude"}, TUNED]}]}


def trained(seconds: float, epochs: int, **changes: Any) -> dict[str, Any]:
    """A step as ``Store.step_paces`` gives it."""
    params = make_step({**TUNED, "epochs": epochs, **changes}).params
    row = {"dataset": "digits", "model": "digits-resnet", "platform": "", "device": ""}
    return {**row, "name": "finetune", "params": params, "epochs": epochs, "seconds": seconds}


def test_the_estimate_counts_training_by_its_epochs() -> None:
    fgsm, pgd = (spec.label for spec in study().attack_specs())
    rows = [pace(fgsm, 6.0), pace(pgd, 54.0)]
    asked = study(**TRAINED)
    # 2 variants x 100 images x 60 / 50 seconds are 4 minutes; 30 epochs of 20 seconds are 10.
    steps = [trained(200.0, 10), trained(20.0, 1), trained(18.0, 1, lr=0.1, eps=0.1)]
    assert (
        estimate(asked, Paces(rows, steps)) == "about 14 min on this machine, 10 min of it training"
    )
    assert estimate(asked, Paces(rows)) == f"more than 4 min; {UNKNOWN_TRAINING}"
    assert estimate(asked, Paces([], steps)) == f"{NO_ESTIMATE}; training about 10 min"
    assert estimate(asked, Paces()) == f"{NO_ESTIMATE}; {UNKNOWN_TRAINING}"


def test_training_that_costs_something_else_is_no_measure() -> None:
    asked = study(**TRAINED)
    others = [
        trained(200.0, 10, attack_steps=20),
        trained(200.0, 10, training="standard"),
        trained(200.0, 10, batch_size=16),
        trained(200.0, 10) | {"model": "digits-resnet-at"},
        trained(200.0, 10) | {"dataset": "cifar10"},
        trained(200.0, 10) | {"name": "other"},
    ]
    assert training_seconds(asked, Paces((), others)) == [None]
    assert training_seconds(asked, Paces((), [*others, trained(50.0, 10)])) == [150.0]
    plain = {"compression": [{**TUNED, "training": "standard"}]}
    clean = trained(20.0, 10, training="standard", attack_steps=20)
    assert training_seconds(study(**plain), Paces((), [clean])) == [60.0], (
        "clean training has no attack"
    )


def test_recipes_that_begin_alike_train_once() -> None:
    tail = {"name": "ptq", "bits": [4, 8]}
    two = study(compression=[{"steps": [TUNED]}, {"steps": [TUNED, tail]}])
    assert training_seconds(two, Paces((), [trained(20.0, 10)])) == [60.0]
    both = study(model=[{"name": "digits-resnet"}, {"name": "digits-resnet-at"}], **TRAINED)
    assert training_seconds(both, Paces((), [trained(20.0, 10)])) == [60.0, None]
    assert f"{UNKNOWN_TRAINING} for 1 of 2 steps" in estimate(both, Paces([], [trained(20.0, 10)]))


def test_the_pace_of_a_run_is_told_without_the_training_of_its_variant(
    full_context: PageContext, results: FakeResults
) -> None:
    run_id = results.flagged
    steps = [{"step": "finetune", "epochs": [{"seconds": 30.0}, {"seconds": 40.0}]}]
    with Writer(results.path) as writer:
        row = writer.run(run_id)
        spec = row["spec"] | {"recipe": [make_step(TUNED).model_dump(mode="json")]}
        writer.db.execute("UPDATE runs SET spec = ? WHERE id = ?", (json.dumps(spec), run_id))
        writer.put_stage(row["variant_key"], "variant", {"steps": steps}, 75.0)
        times = ("2026-01-01T10:00:00", "2026-01-01T10:01:40", run_id)
        writer.db.execute("UPDATE runs SET started = ?, finished = ? WHERE id = ?", times)
        writer.db.execute("UPDATE stages SET created = '2026-01-01T10:01:20'")
        writer.db.conn.commit()
        assert found(writer.paces(), row) == pytest.approx(30, abs=0.01)
        (step,) = writer.step_paces()
        assert (step["name"], step["epochs"], step["seconds"]) == ("finetune", 2, 70.0)
        # A run that found the variant in the store did not wait for it.
        writer.db.execute("UPDATE stages SET created = '2025-12-31T10:01:20'")
        writer.db.conn.commit()
        assert found(writer.paces(), row) == pytest.approx(100, abs=0.01)


def found(paces: list[dict[str, Any]], row: dict[str, Any]) -> float:
    """The largest time among the runs like this one."""
    same = [
        pace_row
        for pace_row in paces
        if (pace_row["model"], pace_row["attack"]) == (row["model"], row["attack"])
    ]
    return max(float(pace_row["seconds"]) for pace_row in same)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "10 s"), (44, "40 s"), (89, "90 s"), (100, "2 min"), (5399, "90 min"), (9000, "2.5 h")],
)
def test_durations_are_as_rough_as_they_are(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


def test_the_page_takes_the_runs_of_this_machine_only(
    qtbot: QtBot,
    full_context: PageContext,
    results: FakeResults,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(page_module, "PACES_MS", 1)
    page = NewPage(full_context)
    qtbot.addWidget(page)
    page.load(paths.example_study())
    page.show()
    assert page.estimate.text() == NO_ESTIMATE, "runs of an unknown machine"
    attack = study().attack_specs()[0]
    with Writer(results.path) as writer:
        row = writer.run(results.flagged)
        assert any(pace_row["attack"] == row["attack"] for pace_row in writer.paces())
        for name in (platform.platform(), "another"):
            with writer.db.atomic():
                machine = environment_id(writer.db, {"platform": name})
                writer.db.execute("UPDATE runs SET environment_id = ?", (machine,))
            draft = {**study(attack=[attack.to_table()]).to_dict()}
            page.refresh()
            page._put(draft)
            here = name == platform.platform()
            qtbot.waitUntil(lambda here=here: page.estimate.text().startswith("about") is here)
    page.reset()
    assert page.estimate.text() == ""


def test_times_of_trainings_stored_before_still_count() -> None:
    step = make_step({"name": "finetune", "epochs": 5})
    params = {name: value for name, value in step.params.items() if name != "attack_start"}
    row = {"dataset": "digits", "model": "digits-resnet", "name": "finetune"}
    row |= {"params": params, "epochs": 2, "seconds": 6.0}
    asked = study(compression=[{"name": "finetune", "epochs": 5}])
    assert training_seconds(asked, Paces((), [row])) == [pytest.approx(15.0)]


def test_times_of_steps_stored_before_an_option_came_are_those_of_its_default() -> None:
    step = make_step({"name": "rap-admm", "admm_epochs": 3, "retrain_epochs": 0})
    params = {name: value for name, value in step.params.items() if name != "passes"}
    row = {"dataset": "digits", "model": "digits-resnet", "name": "rap-admm"}
    row |= {"params": params, "epochs": 2, "seconds": 6.0}
    asked = {"name": "rap-admm", "admm_epochs": 3, "retrain_epochs": 0}
    for more, seconds in (({}, pytest.approx(9.0)), ({"passes": "as coded"}, None)):
        found = training_seconds(study(compression=[asked | more]), Paces((), [row]))
        assert found == [seconds]


def test_the_steps_of_qat_are_its_own_and_no_recipe(qtbot: QtBot, context: PageContext) -> None:
    steps = MethodColumn("2  Compressions", "compressions")
    steps.put([])
    qtbot.addWidget(steps)
    steps.put([{"name": "qat", "bits": 4, "method": "lsq", "steps": "channel"}])
    (told,) = steps.tables()
    assert (told["name"], told["steps"]) == ("qat", "channel")
