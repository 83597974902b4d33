"""What a key in New costs with thousands of runs: counted, because time hangs on the day."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from engine import catalog
from engine.specs import study as study_module
from engine.specs.study import Study
from gui.base.page_context import PageContext
from gui.pages.new import page as page_module
from gui.pages.new.page import NewPage
from tests.helpers.new_page import type_seed

SPARSITIES, RADII = 50, 48
BIG = {
    "name": "Big",
    "dataset": {"name": "digits", "limit": 100},
    "model": [{"name": "digits-resnet"}],
    "compression": [{"name": "magnitude", "sparsity": [i / 60 for i in range(1, SPARSITIES + 1)]}],
    "attack": [{"name": "pgd", "eps": [i / 100 for i in range(1, RADII + 1)]}],
}


@pytest.fixture
def page(qtbot: QtBot, context: PageContext) -> NewPage:
    page = NewPage(context)
    qtbot.addWidget(page)
    page.resize(1280, 720)
    page.show()
    page.open(Study.from_dict(BIG))
    assert page.study is not None
    assert page.study.count() == (SPARSITIES + 1) * RADII == len(page.study.runs())
    return page


@pytest.fixture
def calls(page: NewPage, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a key makes steps, attacks and runs, asks for an entry, estimates the time."""
    counted: Counter[str] = Counter()

    def count(owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def counting(*args: Any, **named: Any) -> Any:
            counted[name] += 1
            return real(*args, **named)

        monkeypatch.setattr(owner, name, counting)

    for name in ("make_step", "make_attack", "Run"):
        count(study_module, name)
    count(catalog, "find")
    count(page_module, "estimate")
    return counted


def test_a_key_in_the_name_expands_nothing(
    page: NewPage, calls: Counter[str], qtbot: QtBot
) -> None:
    page.data.name.selectAll()
    qtbot.keyClicks(page.data.name, "n")
    assert page.study is not None
    assert page.study.name == "n"
    assert calls["make_step"] == calls["make_attack"] == calls["Run"] == calls["estimate"] == 0
    assert calls["find"] < 20


def test_another_radius_makes_its_attacks_once_and_no_step(
    page: NewPage, calls: Counter[str]
) -> None:
    form = page.attacks.block("pgd").form
    assert form is not None
    form.put({"eps": [i / 100 for i in range(2, RADII + 2)]})
    form.changed.emit()
    assert page.study is not None
    assert page.study.attack_specs()[-1].eps == (RADII + 1) / 100
    assert calls["make_attack"] == RADII
    assert calls["make_step"] == calls["Run"] == 0
    assert calls["estimate"] == 1


def test_only_the_planned_runs_that_are_seen_are_put_into_words(
    page: NewPage, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    qtbot.waitUntil(page.plan.isVisible)
    assert page.study is not None
    asked: list[int] = []
    real = Study.planned

    def planned(study: Study, number: int) -> Any:
        asked.append(number)
        return real(study, number)

    monkeypatch.setattr(Study, "planned", planned)
    type_seed(page, "3")
    page.plan.table.grab()
    assert 0 < len(set(asked)) < 40


def test_planned_runs_are_those_that_the_study_makes() -> None:
    two = [{"name": "digits-resnet"}, {"name": "digits-resnet-at"}, {"name": "digits-resnet"}]
    short = {"compression": [{"name": "magnitude", "sparsity": [0.1, 0.2]}]}
    study = Study.from_dict({**BIG, **short, "model": two})
    runs = study.runs()
    planned = [study.planned(number) for number in range(study.count())]
    assert planned == [(run.model, run.recipe, run.attack, run.seed, None) for run in runs]


def test_a_model_that_the_catalogue_lost_is_absent_though_the_tables_are_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned = {"name": "kd", "teacher": "digits-resnet-at"}
    study = Study.from_dict({**BIG, "compression": [learned]})
    assert study.absent_models() == ()
    lost = {"digits-resnet": catalog.built_in("models")["digits-resnet"]}
    monkeypatch.setattr(catalog.cards, "entries", lambda: lost)
    assert study.absent_models() == ("digits-resnet-at",)
