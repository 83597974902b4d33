"""The layers of a variant and what each costs, in a window of their own."""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QAbstractItemView,
    QLabel,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from engine.store import Payload
from gui.details.cost_facts import LAYER_COLUMNS, formula, layer_texts
from gui.widgets.dialog import Dialog
from gui.widgets.tables import set_up_table

_SIZE = (1240, 420)
_VERTICALLY = Qt.AlignmentFlag.AlignVCenter


class LayerTable(Dialog):
    """One row per convolution and linear layer above their total; Escape closes."""

    def __init__(self, title: str, accounting: Payload, parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Layers: {title}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(*_SIZE)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        self.table = _table(list(_rows(accounting)))
        column.addWidget(self.table)
        rest = QLabel(
            f"The bytes of all layers include {accounting['rest_bytes']:,} of scales, biases and "
            f"BatchNorm{_others(accounting)}. The heads of the columns tell how a number comes "
            "about."
        )
        rest.setProperty("role", "small")
        column.addWidget(rest)


def _others(accounting: Payload) -> str:
    """What was counted outside layers; an older version did not."""
    macs = accounting.get("other_macs", 0)
    return f", the MACs {macs:,} of products outside layers, as in attention" if macs else ""


def _rows(accounting: Payload) -> Iterator[list[str]]:
    for row in accounting["layers"]:
        shape = " x ".join(str(size) for size in row["shape"])
        yield [row["name"], f"{row['kind']} {shape}", *layer_texts(row)]
    yield ["all", "", *layer_texts(accounting)]


def _table(rows: list[list[str]]) -> QTableWidget:
    heads = ["layer", "weight", *(head for head, _ in LAYER_COLUMNS)]
    table = QTableWidget(len(rows), len(heads))
    table.setHorizontalHeaderLabels(heads)
    set_up_table(table, "Cost of each layer", 26)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    for column, (head, key) in enumerate(LAYER_COLUMNS, 2):
        item = QTableWidgetItem(head)
        item.setToolTip(formula(key))
        table.setHorizontalHeaderItem(column, item)
    for line, texts in enumerate(rows):
        for number, text in enumerate(texts):
            table.setItem(line, number, _item(text, number=number >= 2, last=line == len(rows) - 1))
    table.resizeColumnsToContents()
    return table


def _item(text: str, *, number: bool, last: bool) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    side = Qt.AlignmentFlag.AlignRight if number else Qt.AlignmentFlag.AlignLeft
    item.setTextAlignment(side | _VERTICALLY)
    font = item.font()
    font.setBold(last)
    item.setFont(font)
    return item
