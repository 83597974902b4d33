"""The traffic light as it is seen: shapes, words and numbers."""

from __future__ import annotations

from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from engine.report.evidence import LEVEL_ROLES, LEVEL_WORDS, lights
from engine.statistics.run_checks import LEVELS, run_checks
from engine.store import Writer
from engine.store.stage_keys import diagnostics_key
from gui.base import theme
from gui.base.page_context import PageContext
from gui.details.panel import DetailsPanel
from gui.widgets.traffic_light import LightIcon, SummaryBanner, TrafficLight
from tests.helpers.fake_results import MASKED, FakeResults
from tests.helpers.runs_to_judge import NUMBERS, flag, run


def test_each_level_has_its_own_shape_word_and_colour(qtbot: QtBot, context: PageContext) -> None:
    for mode in ("light", "dark"):
        theme.current().use(mode)
        shapes = set()
        for level in LEVELS:
            icon = LightIcon(level)
            qtbot.addWidget(icon)
            assert icon.accessibleName() == LEVEL_WORDS[level]
            shapes.add(icon.pixmap().toImage().createAlphaMask().constBits().tobytes())
        assert len(shapes) == len(LEVELS), "told apart without any colour"
    assert len(set(LEVEL_WORDS.values())) == len(set(LEVEL_ROLES.values())) == len(LEVELS)


def test_the_widget_says_level_number_and_words(qtbot: QtBot, context: PageContext) -> None:
    row = run(flags=[flag("zero-gradient", "danger", "It is zero.")])
    panel = TrafficLight(lights(row, run_checks(row, {**NUMBERS, "gradient_zero_fraction": 0.4})))
    qtbot.addWidget(panel)
    texts = [label.text() for label in panel.findChildren(QLabel)]
    assert "failed: 40.0 % zero\nIt is zero." in texts
    assert sum(text == "Gradient is not zero" for text in texts) == 1


def test_details_read_the_gate_of_the_run(
    qtbot: QtBot, full_context: PageContext, results: FakeResults
) -> None:
    row = full_context.store.run(results.flagged)
    key = diagnostics_key(row["variant_key"], row["data_key"])
    with Writer(results.path) as writer:
        writer.put_stage(key, "diagnostics", {"flags": [], "numbers": NUMBERS}, 0.1)
    details = DetailsPanel(full_context)
    qtbot.addWidget(details)
    details.show_runs([results.flagged])
    details.show()
    (banner,) = details.findChildren(SummaryBanner)
    assert banner.text.text().startswith("Do not quote this number: likely gradient masking")
    assert banner.property("level") == "error"
    texts = [label.text() for label in details.findChildren(QLabel)]
    assert "median cosine 0.83" in texts
    assert any(MASKED["text"] in text for text in texts)
