"""The models in the first column of New: what each is, and why one does not fit the images."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from engine import catalog
from engine.catalog import ModelCard
from engine.specs.model_fit import ImagesFound, misfit
from gui.base.words import images_word
from gui.pages.new.elided_check_box import ElidedCheckBox
from gui.pages.new.ready_models import ReadyModels
from gui.widgets.icon_button import TextButton
from gui.widgets.note_line import NoteLine

_INDENT = 24
_NAME = re.compile(r"\w[\w.+-]*", re.ASCII)
"""Of a model, where a command may show it: a study file can name anything."""


class _Block(QWidget):
    """One model: its box, its facts, and what is wrong with it."""

    def __init__(self, card: ModelCard) -> None:
        super().__init__()
        self.card = card
        self.box = ElidedCheckBox(card.title)
        self.box.setAccessibleName(card.title)
        self.box.setToolTip(card.title)
        self.facts = QLabel(_facts(card))
        self.facts.setProperty("role", "small")
        self.health = NoteLine(f"Health of {card.title}")
        self.fit = NoteLine(f"Whether {card.title} fits the images")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 4)
        column.setSpacing(4)
        column.addWidget(self.box)
        for label in (self.facts, self.health, self.fit):
            label.setWordWrap(True)
            label.setContentsMargins(_INDENT, 0, 0, 0)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
            column.addWidget(label)
        if not card.healthy:
            self.health.tell("⚠ Not healthy on import: see its card in the library.", "error")

    def judge(self, look: ImagesFound) -> None:
        """Say why the model does not fit the images, if it does not."""
        reason = misfit(look, self.card)
        self.fit.tell(f"⚠ {reason}" if reason else "", "warning")


class _Absent(QWidget):
    """A model that a study names and the library does not have (yet)."""

    def __init__(self, id_: str) -> None:
        super().__init__()
        self.box = ElidedCheckBox(id_)
        self.box.setAccessibleName(id_)
        self.box.setToolTip(html.escape(id_))
        self.box.setChecked(True)
        self.note = NoteLine(f"Where {id_} is")
        self.note.setWordWrap(True)
        self.note.setContentsMargins(_INDENT, 0, 0, 0)
        self.note.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 4)
        column.setSpacing(4)
        column.addWidget(self.box)
        column.addWidget(self.note)
        self.note.setTextFormat(Qt.TextFormat.PlainText)
        command = f" (crumple train … --name {id_})" if _NAME.fullmatch(id_) else ""
        self.note.tell(
            f"⚠ Not in the library. Import it under this name, or train it{command}.", "warning"
        )


class ModelList(QWidget):
    """A box per model on offer; follows the library.

    Args:
        database: the database whose library takes what is downloaded.

    Signals:
        changed: other models are ticked, or the ticked ones are others now.
        wanted: ``import`` or ``models``: a window that was asked for.
        arrived: a model was downloaded into the library.
    """

    changed = Signal()
    wanted = Signal(str)
    arrived = Signal()

    def __init__(self, database: Path) -> None:
        super().__init__()
        self.models: dict[str, QCheckBox] = {}
        self._blocks: dict[str, _Block] = {}
        self._absent: dict[str, _Absent] = {}
        self._order: list[str] = []
        self._look = ImagesFound()
        self._seen: dict[str, ModelCard] | None = None
        self._list = QVBoxLayout()
        self.ready = ReadyModels(database, self.tick)
        self.add_button = TextButton("new", "Add model…")
        self.buttons = {"import": QPushButton("Import…"), "models": QPushButton("Library…")}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(8)
        column.addLayout(self._head())
        column.addWidget(self.add_button)
        column.addWidget(self.ready)
        column.addLayout(self._list)
        self.add_button.setToolTip(
            "Models that can be had at once: bundled, of the library, or published by torchvision, "
            "timm and RobustBench (Ctrl+Shift+M)."
        )
        self.add_button.clicked.connect(self.ready.pick)
        self.ready.arrived.connect(self._take)
        self.refresh()

    def _head(self) -> QHBoxLayout:
        heading = QLabel("Models")
        heading.setProperty("role", "heading")
        self.buttons["import"].setToolTip("Import a model from a file.")
        self.buttons["models"].setToolTip("All models, their cards and where they are used.")
        row = QHBoxLayout()
        row.addWidget(heading)
        row.addStretch()
        for key, button in self.buttons.items():
            button.setProperty("flat", True)
            button.clicked.connect(lambda _=False, key=key: self.wanted.emit(key))
            row.addWidget(button)
        return row

    def refresh(self) -> None:
        """Take over what changed in the library; ticks stay where the model is still there."""
        cards = catalog.models.cards.cards()
        if cards == self._seen:
            return
        self._seen = dict(cards)
        ticked = set(self.ticked())
        for id_ in [
            known for known, block in self._blocks.items() if cards.get(known) != block.card
        ]:
            self._take_out(self._blocks.pop(id_))
        arrived = [id_ for id_ in self._absent if id_ in cards]
        for id_ in arrived:
            self._take_out(self._absent.pop(id_))
        order = [known for known in self._order if known in cards or known in self._absent]
        for id_, card in cards.items():
            if id_ not in self._blocks:
                self._blocks[id_] = block = _Block(card)
                block.judge(self._look)
                block.box.setChecked(id_ in ticked)
                block.box.clicked.connect(lambda _on: self.changed.emit())
        self.models = {id_: self._blocks[id_].box for id_ in cards}
        self._arrange(order + [known for known in cards if known not in order])
        if arrived or ticked - set(cards) - set(self._absent):
            self.changed.emit()

    def _add_absent(self, id_: str) -> None:
        self._absent[id_] = absent = _Absent(id_)
        absent.box.clicked.connect(lambda _on: self.changed.emit())

    def _take_out(self, block: QWidget) -> None:
        self._list.removeWidget(block)
        block.hide()
        block.deleteLater()

    def judge(self, look: ImagesFound, images: Mapping[str, Any]) -> None:
        """Mark the models that do not fit these images.

        Args:
            images: their table of a study file.
        """
        self._look = look
        self.ready.judge(look, images)
        for block in self._blocks.values():
            block.judge(look)

    def misfits(self) -> list[str]:
        """The titles of ticked models that do not fit the images."""
        blocks = (self._blocks[id_] for id_ in self.ticked() if id_ in self._blocks)
        return [block.card.title for block in blocks if misfit(self._look, block.card)]

    def ticked(self) -> list[str]:
        """In the order of the study file, so that opening and saving it changes nothing."""
        return [id_ for id_ in self._order if self._box(id_).isChecked()]

    def absent(self) -> list[str]:
        """Those ticked that the library does not have."""
        return [id_ for id_ in self.ticked() if id_ in self._absent]

    def _box(self, id_: str) -> QCheckBox:
        return self._absent[id_].box if id_ in self._absent else self.models[id_]

    def put(self, chosen: Sequence[str]) -> None:
        """Tick these and show them first, in the order of the study, as the other columns do.

        Those that the library does not have are listed, too, and say so.
        """
        self.refresh()
        for id_ in list(self._absent):
            self._take_out(self._absent.pop(id_))
        wanted = list(dict.fromkeys(chosen))
        for id_ in wanted:
            if id_ not in self.models:
                self._add_absent(id_)
        for id_, box in self.models.items():
            box.setChecked(id_ in wanted)
        self._arrange(wanted + [id_ for id_ in self.models if id_ not in wanted])

    def tick(self, id_: str) -> bool:
        """Tick a model and show it; False if it was ticked already."""
        self.refresh()
        box = self.models[id_]
        fresh = not box.isChecked()
        if fresh:
            box.setChecked(True)
            self.changed.emit()
        return fresh

    def _take(self, id_: str) -> None:
        """A model was downloaded for this study."""
        self.tick(id_)
        self.arrived.emit()

    def _arrange(self, order: list[str]) -> None:
        self._order = order
        before: QWidget = self.add_button
        for id_ in order:
            block = self._absent[id_] if id_ in self._absent else self._blocks[id_]
            self._list.removeWidget(block)
            self._list.addWidget(block)
            QWidget.setTabOrder(before, block.box)
            before = block.box


def _facts(card: ModelCard) -> str:
    accuracy = f"clean {card.clean_accuracy:.1%} of {card.test_images:,}".replace("%", " %")
    numbers = f"{card.origin}, {card.parameters:,} parameters, {accuracy}"
    if card.origin == "bundled":
        return f"{card.summary}\n{numbers}"
    made_of = card.source.file if card.source else card.architecture
    return f"{card.remark or f'From {made_of}, measured on {images_word(card.dataset)}'}\n{numbers}"
