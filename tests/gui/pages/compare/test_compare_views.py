"""The charts of the Compare page are made when they are shown first."""

from __future__ import annotations

from typing import Any

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QWidget

from gui.pages.compare.page import VIEWS
from tests.helpers.page_kit import PageHarness


def made(page: Any) -> list[str]:
    return [kind.id for kind in VIEWS if kind.id in vars(page)]


def test_a_chart_is_made_with_the_first_look(harness: PageHarness) -> None:
    page = harness.page("compare")
    assert made(page) == ["tradeoff"]
    page.switch.button(2).click()
    assert made(page) == ["tradeoff", "transfer"]
    assert page.charts.currentWidget() is page.transfer
    assert page.controls.currentWidget() is page.transfer.controls
    page.switch.button(0).click()
    assert page.charts.currentWidget() is page.tradeoff
    assert page.charts.count() == page.controls.count() == 2


@pytest.mark.parametrize(("chart", "button"), [("security", 1), ("transfer", 2), ("gone", 0)])
def test_the_chart_of_last_time_is_the_only_one_made(
    harness: PageHarness, settings: QSettings, chart: str, button: int
) -> None:
    settings.setValue("compare/chart", chart)
    settings.setValue("compare/filter", "attack=pgd")
    page = harness.page("compare")
    assert made(page) == [VIEWS[button].id]
    assert page.switch.checkedId() == button


def test_what_was_chosen_in_a_chart_outlives_a_day_without_it(
    harness: PageHarness, settings: QSettings
) -> None:
    kept = {"compare/x": "size_bytes", "compare/norm": "L2", "compare/measure": "accuracy"}
    for name, value in kept.items():
        settings.setValue(name, value)
    page = harness.page("compare")
    assert page.tradeoff.x_box.currentData().id == "size_bytes"
    page.save_state()
    assert {name: settings.value(name) for name in kept} == kept
    page.switch.button(2).click()
    assert page.transfer.measure_box.currentData().column == "accuracy"


@pytest.mark.parametrize("number", range(len(VIEWS)))
def test_tab_goes_from_the_buttons_to_the_fields_of_the_chart(
    harness: PageHarness, number: int
) -> None:
    page = harness.page("compare")
    page.switch.button(number).click()
    place: QWidget = page.switch.buttons()[-1]
    passed = []
    while place is not page.export_button:
        place = place.nextInFocusChain()
        passed.append(place)
    assert [box for box in passed if box in page.view().boxes] == page.view().boxes
