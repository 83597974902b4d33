"""Results call a model what its card calls it; the id is never far."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QTableView, QTableWidget
from pytestqt.qtbot import QtBot

from engine import catalog
from engine.catalog.models import library
from engine.report.tables import results_text
from engine.store.artifacts import models_of
from gui.base import model_names
from gui.base.model_names import model_title
from gui.base.page_context import PageContext
from gui.shell.main_window import MainWindow
from gui.widgets.run_filter import parse
from tests.helpers.fake_results import FakeResults
from tests.helpers.library import put_model

TITLE = "My thesis network"


@pytest.fixture
def window(qtbot: QtBot, full_context: PageContext) -> MainWindow:
    """One model of the results is one of the library, with a title of its own."""
    folder = models_of(full_context.store.path)
    catalog.use_library(folder)
    model_names.forget()
    put_model(folder, "mine", title=TITLE)
    with full_context.store.db.atomic():
        full_context.store.db.execute(
            "UPDATE runs SET model = 'mine' WHERE model = 'digits-resnet'"
        )
    window = MainWindow(full_context, "runs")
    qtbot.addWidget(window)
    window.resize(1280, 720)
    window.show()
    return window


def _words(window: MainWindow) -> str:
    """All that stands in the tables, choices and labels of the page that is shown."""
    titles = []
    for view in window.page().findChildren(QTableView):
        model = view.model()
        if not isinstance(view, QTableWidget) and model is not None:
            cells = [
                model.index(row, column)
                for row in range(model.rowCount())
                for column in range(model.columnCount())
                if not view.isColumnHidden(column)
            ]
            titles += [str(cell.data()) for cell in cells]
    for table in window.page().findChildren(QTableWidget):
        items = [table.item(r, c) for r in range(table.rowCount()) for c in range(4)]
        titles += [item.text() for item in items if item is not None]
    for box in window.page().findChildren(QComboBox):
        titles += [box.itemText(place) for place in range(box.count())]
    return "\n".join(titles)


@pytest.mark.parametrize("page_id", ["queue", "live", "runs", "compare", "inspector"])
def test_every_page_of_results_says_the_title(
    qtbot: QtBot, window: MainWindow, results: FakeResults, page_id: str
) -> None:
    window.show_page(page_id)
    qtbot.waitUntil(lambda: TITLE in _words(window))
    words = _words(window)
    assert "mine," not in words
    assert "\nmine\n" not in words
    window.details.show_runs([results.flagged])
    window.details.show()
    assert TITLE in window.details.title.text()


def test_the_id_is_in_the_tool_tip_and_in_a_column(window: MainWindow) -> None:
    page = window.page()
    proxy = page.table.runs
    cells = [proxy.index(row, 1) for row in range(proxy.rowCount())]
    titled = next(cell for cell in cells if cell.data() == TITLE)
    assert "mine" in str(titled.data(Qt.ItemDataRole.ToolTipRole)).splitlines()
    heads = [proxy.headerData(n, Qt.Orientation.Horizontal) for n in range(proxy.columnCount())]
    assert titled.siblingAtColumn(heads.index("Model id")).data() == "mine"


@pytest.mark.parametrize(
    "text", ["model=mine", f'model="{TITLE}"', "model:thesis", "thesis", "mine"]
)
def test_filters_know_both(window: MainWindow, text: str) -> None:
    table = window.context.runs.table
    accepted = table.rows(np.flatnonzero(parse(text).mask(table)))
    assert {row["model"] for row in accepted} == {"mine"}


def test_exports_have_both(window: MainWindow) -> None:
    rows, titles = window.context.store.results(), model_names.titles()
    table = list(csv.DictReader(io.StringIO(results_text(rows, "csv", titles))))
    of_mine = [row for row in table if row["model"] == "mine"]
    assert {row["model_title"] for row in of_mine} == {TITLE}
    found = json.loads(results_text(rows, "json", titles))
    assert {row["model_title"] for row in found if row["model"] == "mine"} == {TITLE}
    for style in ("latex", "markdown"):
        assert TITLE in results_text(rows, style, titles)
    assert "mine" in results_text(rows, "markdown")


def test_titles_of_deleted_unknown_and_twin_models(window: MainWindow) -> None:
    folder = models_of(window.context.store.path)
    put_model(folder, "twin", title=TITLE)
    model_names.forget()
    assert model_title("mine") == f"{TITLE} (mine)"
    assert model_title("twin") == f"{TITLE} (twin)"
    library.delete(catalog.model_card("twin"), folder)
    window._models_changed()
    assert model_title("nobody") == "nobody"
    assert TITLE in model_title("twin"), "results of a deleted model keep its name"


def test_a_new_title_is_shown_at_once(window: MainWindow) -> None:
    folder = models_of(window.context.store.path)
    put_model(folder, "mine", title="Another name")
    window._models_changed()
    assert "Another name" in _words(window)
