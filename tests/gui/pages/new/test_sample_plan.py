"""New says what the number of images can show, and how many tell two accuracies apart."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from engine.statistics.sample_size import Disagreement, paired_power
from gui.base.page_context import PageContext
from gui.pages.new.page import NewPage
from gui.pages.new.sample_words import needed, seen, seen_briefly
from tests.helpers.new_page import choose_dataset


@pytest.fixture
def page(qtbot: QtBot, context: PageContext) -> NewPage:
    page = NewPage(context)
    qtbot.addWidget(page)
    page.show()
    return page


def points(text: str) -> list[float]:
    found = re.search(r"above about ([\d.]+) to ([\d.]+) points", text)
    assert found, text
    return [float(number) for number in found.groups()]


@pytest.mark.parametrize("images", [50, 500, 10_000])
def test_the_points_that_are_told_reach_the_power(images: int) -> None:
    """At nine tenths of what is told the power is not there, at eleven tenths it is."""
    for told, how in zip(
        points(seen(images)), (Disagreement.least, Disagreement.independent), strict=True
    ):
        assert paired_power(images, how(0.5, 0.5 - 0.009 * told)) < 0.8
        assert paired_power(images, how(0.5, 0.5 - 0.011 * told)) > 0.8


def test_too_few_images_show_nothing_and_too_many_are_not_told() -> None:
    assert "not even a fall from 50 % to 0" in seen(14)
    assert points(seen(15))[1] < 50  # six of fifteen, each at 1/2: 85 %
    assert seen(100_001) == ""


def test_the_sentence_follows_the_number_and_the_dataset(page: NewPage, tmp_path: Path) -> None:
    plan = page.data.plan.planner.seen
    page.data.limit.setValue(50)
    assert plan.text().startswith("With 50 images, paired, only differences above about 15 to 29")
    assert page.data.plan.button.text() == "≥ 15–29 points"
    assert seen_briefly(26_032) == "≥ 0.03–1.2 points", "of a difference nothing is never seen"
    assert page.data.plan.button.accessibleName().startswith(plan.text())
    page.data.limit.setValue(0)
    choose_dataset(page, "digits")
    assert "With 500 images" in plan.text()
    page.data.limit.setValue(9000)  # more than there are
    assert "With 500 images" in plan.text()
    choose_dataset(page, "cifar10")
    assert "With 9,000 images" in plan.text()
    choose_dataset(page, "npz")
    page.data.limit.setValue(0)
    assert plan.isHidden()
    assert page.data.plan.button.text() == "How many?"
    np.savez(tmp_path / "a.npz", x=np.zeros((70, 8, 8, 1), np.uint8), y=np.zeros(70, np.int64))
    page.data.put({"dataset": {"npz": str(tmp_path / "a.npz")}})
    assert "With 70 images" in plan.text()


def test_two_accuracies_give_a_number_of_images(page: NewPage) -> None:
    plan = page.data.plan.planner
    page.data.plan.button.click()
    assert plan.isVisible()
    assert "197 to 2,404 images" in plan.needed.text()  # as crumple sample-size 42 38 says
    plan.robust.setValue(100)
    plan.other.setValue(0)
    assert "about 6 images" in plan.needed.text()  # 2 / 2^6 < 5 %, 2 / 2^5 > 5 %
    plan.other.setValue(100)
    assert plan.needed.text() == "Both are the same: there is no difference to be seen."
    QTest.keyClick(plan, Qt.Key.Key_Escape)
    assert not plan.isVisible()


def test_more_images_than_are_told_is_said() -> None:
    assert needed(50.1, 50).endswith("to more than 100,000 images (power 80 %).")
