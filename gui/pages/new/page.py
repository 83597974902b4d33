"""The New page: what is ticked and typed here is a study; the line below says what will run."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QObject, QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from engine import catalog, extensions
from engine.catalog.worst_case import WORST_CASE
from engine.errors import CrumpleError, SpecError
from engine.host import paths
from engine.specs.study import Study
from engine.store import PaceRow, StepPaceRow, Store
from gui.base import file_dialogs
from gui.base.page_context import PageContext
from gui.base.seldom import Seldom
from gui.base.undo_commands import ReplaceDraft
from gui.bridge.store_version import Version, store_version
from gui.pages.base import Page
from gui.pages.new.data_column import DataColumn
from gui.pages.new.draft import checked, sentence
from gui.pages.new.method_column import Mark, MethodColumn
from gui.pages.new.plan_table import LEAST_HEIGHT, PlanTable
from gui.pages.new.time_estimate import Paces, estimate
from gui.widgets.data_location import OWN
from gui.widgets.icon_button import TextButton
from gui.widgets.message_bar import Message

_DRAFT = "new/draft"
_UNNAMED = "Study"

PACES_MS = 10_000
"""While a study runs the times of stored runs hardly change, and reading them takes a while."""


class NewPage(Page):
    """Three columns, read from left to right, and one sentence.

    Signals:
        described: a method of the catalogue (section, id) that the details panel should describe.
        wanted: the id of an action of the window.
        replaced: what has taken the place of a draft with something in it, and a function
            that brings the draft back.
    """

    described = Signal(str, str)
    wanted = Signal(str)
    replaced = Signal(str, object)

    def __init__(self, context: PageContext, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self.planned: Study | None = None
        self.data = DataColumn(context.store.path)
        self.compressions = MethodColumn("2  Compressions", "compressions")
        self.attacks = MethodColumn("3  Attacks", "attacks")
        self.worst_case = _worst_case_box()
        self.attacks.above.addWidget(self.worst_case)
        self.plan = PlanTable()
        self.count, self.verdict, self.estimate = QLabel(), QLabel(), QLabel()
        self.verdict.setTextFormat(Qt.TextFormat.PlainText)  # it quotes what files say
        self._below = QHBoxLayout()
        self._paces = Paces()
        self._told: dict[str, Any] | None = None
        self._absent: tuple[str, ...] = ()
        self._paces_due = Seldom(self._read_paces, PACES_MS, self)
        self._seen: Version | None = None
        self.example = TextButton("crumple", "Load example")
        self.open_button = TextButton("folder", "Open…")
        self.save_button = TextButton("save", "Save…")
        self.queue_button = TextButton("queue", "Add to queue")
        self.start_button = TextButton("play", "Start", primary=True)
        self._lay_out()
        self._connect()
        self._restore()

    def _lay_out(self) -> None:
        first = QVBoxLayout()
        first.setSpacing(12)
        first.addWidget(self.data)
        first.addWidget(self.plan, 1)
        columns = QHBoxLayout()
        columns.setSpacing(12)
        columns.addLayout(first, 1)
        for column in (self.compressions, self.attacks):
            columns.addWidget(column, 1)
        self.count.setProperty("role", "title")
        self.count.setWordWrap(True)
        self.estimate.setWordWrap(True)
        self.estimate.setProperty("role", "muted")
        self.estimate.setAccessibleName("Estimated time")
        self.estimate.setToolTip("From what stored runs of the same attacks and trainings took.")
        self.queue_button.setToolTip("Add the runs to the queue without starting it.")
        self.start_button.setToolTip("Start the study (Ctrl+Enter)")
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(self.count)
        self._below.setSpacing(16)
        self._below.addWidget(self.verdict)
        self._below.addWidget(self.estimate, 1)
        words.addLayout(self._below)
        line = QHBoxLayout()
        line.setSpacing(8)
        line.addLayout(words, 1)
        for button in (
            self.example,
            self.open_button,
            self.save_button,
            self.queue_button,
            self.start_button,
        ):
            line.addWidget(button)
        page = QVBoxLayout(self)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(12)
        self.setFocusProxy(self.data.name)
        page.addLayout(columns, 1)
        page.addLayout(line)

    def _connect(self) -> None:
        for column in (self.data, self.compressions, self.attacks):
            column.changed.connect(self._changed)
        for column in (self.compressions, self.attacks):
            column.described.connect(self.described)
        self.worst_case.toggled.connect(lambda _on: self._changed())
        self.compressions.change.connect(self.change)
        self.data.model_list.wanted.connect(self.wanted)
        self.compressions.installEventFilter(self)
        self.example.clicked.connect(lambda: self.load(paths.example_study()))
        self.open_button.clicked.connect(self.ask_open)
        self.save_button.clicked.connect(self.ask_save)
        self.queue_button.clicked.connect(self.enqueue)
        self.start_button.clicked.connect(self.start)

    def _restore(self) -> None:
        try:
            draft = json.loads(str(self.context.settings.value(_DRAFT, "{}")))
            self._put(draft)
        except (ValueError, TypeError, KeyError, AttributeError, SpecError):
            # A draft of another version: the catalogue may have changed under it.
            self._put({})

    @property
    def study(self) -> Study | None:
        """What can be started: all is valid, and all models are here."""
        return self.planned if self.planned and not self.planned.absent_models() else None

    # -- the draft -------------------------------------------------------------------------

    def draft(self) -> dict[str, Any]:
        """The tables of the study file, as they stand, valid or not."""
        mode = {"mode": WORST_CASE} if self.worst_case.isChecked() else {}
        return {
            **self.data.tables(),
            **mode,
            "compression": self.compressions.tables(),
            "attack": self.attacks.tables(),
        }

    def _put(self, draft: Mapping[str, Any], mark: Mark | None = None) -> None:
        self.data.put(draft)
        with QSignalBlocker(self.worst_case):
            self.worst_case.setChecked(draft.get("mode") == WORST_CASE)
        self.compressions.put(draft.get("compression", ()), mark)
        self.attacks.put(draft.get("attack", ()))
        self._changed()

    def _marked(self) -> tuple[dict[str, Any], Mark]:
        return self.draft(), self.compressions.mark()

    def replace(self, draft: Mapping[str, Any], name: str) -> None:
        """Show another draft; the present one can be brought back."""
        before = self._marked()
        self._put(draft)
        if self.draft() == before[0]:
            return
        command = ReplaceDraft(
            f"replace the draft by {name}", lambda state: self._put(*state), self._marked, before
        )
        self.change.emit(command)
        if any(before[0][key] for key in ("model", "compression", "attack")):
            self.replaced.emit(name, lambda: self.replace(before[0], "The draft of before"))

    def _changed(self) -> None:
        draft = self.draft()
        self.context.settings.setValue(_DRAFT, json.dumps(draft))
        try:
            self.planned = checked(draft)
        except SpecError as error:
            self.planned = None
            self._say("Not ready to start", str(error), "error")
        else:
            self._absent = self.planned.absent_models()
            self._say(sentence(self.planned), *self._fit(self._absent))
        told = {**draft, "name": ""} if self.planned else None
        if told is None or told != self._told:  # a name changes nothing that will run
            self._told = told
            self._tell_time()
            self.plan.model.set_study(self.planned)
            self._share_room()
        self.start_button.setEnabled(self.study is not None)
        self.queue_button.setEnabled(self.study is not None)
        self.save_button.setEnabled(self.planned is not None)

    def _fit(self, absent: Sequence[str]) -> tuple[str, str]:
        """What is to be said of a valid study; a look from outside only warns."""
        if absent:
            *first, last = absent
            names = f"{', '.join(first)} and {last} are" if first else f"{last} is"
            return f"{names} not in the library: import or train", "error"
        titles = self.data.model_list.misfits()
        if not titles:
            return "0 errors", "ok"
        more = f" and {len(titles) - 1} more" if titles[1:] else ""
        verb = "do" if more else "does"
        return f"{titles[0]}{more} {verb} not fit the images: see the first column", "warning"

    def refresh(self) -> None:
        extensions.renew()  # a file was trusted in a terminal, or the engine asked a package
        self._offer_anew()
        self.data.model_list.refresh()
        if self.planned and self.planned.absent_models() != self._absent:
            self._changed()  # a teacher came, or went
        version = store_version(self.context.store)
        if version != self._seen:
            self._seen = version
            self._paces_due.ask()

    def _read_paces(self) -> None:
        here = self.context.client.device
        self.context.results.ask(self, "paces", lambda store: _paces(store, here), self._know)

    def _know(self, paces: Paces) -> None:
        self._paces = paces
        self._tell_time()

    def _offer_anew(self) -> None:
        """Show the methods that there are now; what is ticked stays, where it still exists."""
        self.data.renew()
        if any([column.renew() for column in (self.compressions, self.attacks)]):
            self._changed()

    def _tell_time(self) -> None:
        self.estimate.setText(estimate(self.planned, self._paces) if self.planned else "")
        self.estimate.setVisible(self.planned is not None)

    def _share_room(self) -> None:
        """List the planned runs in the room that the first column leaves, if it is enough."""
        room = self.compressions.height() - self.data.sizeHint().height()
        shown = self.planned is not None and room >= LEAST_HEIGHT
        tall = QSizePolicy.Policy.Maximum if shown else QSizePolicy.Policy.Preferred
        self.data.setSizePolicy(QSizePolicy.Policy.Preferred, tall)
        self.plan.setVisible(shown)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Resize:
            self._share_room()
        return super().eventFilter(watched, event)

    def _say(self, count: str, verdict: str, role: str) -> None:
        self.count.setText(count)
        self.verdict.setText(verdict)
        # An objection takes most of the room, which only models that are not here yet share.
        self.verdict.setWordWrap(role == "error")
        self._below.setStretchFactor(self.verdict, 4 if role == "error" else 0)
        self.verdict.setProperty("role", role)
        self.verdict.style().polish(self.verdict)

    def open(self, payload: Any) -> None:
        """Show a study, or a study file, that another page names."""
        if isinstance(payload, Study):
            self.replace(payload.to_dict(), f"“{payload.name}”")
        elif isinstance(payload, Path):
            self.load(payload)

    def use_model(self, model_id: str, images: Mapping[str, Any] | None = None) -> None:
        """Tick this model alone, on these images or on those that it was made for."""
        self.data.model_list.refresh()
        draft = self.draft()
        card = catalog.model_card(model_id)
        draft["model"] = [{"name": model_id}]
        if images is not None:
            draft["dataset"] = dict(images)
        elif card.dataset not in OWN and card.dataset != draft["dataset"].get("name"):
            draft["dataset"] = {"name": card.dataset}
        if draft["name"] in ("", _UNNAMED):
            draft["name"] = card.title
        self.replace(draft, f"A study of {card.title}")
        self.data.models[model_id].setFocus()

    def reset(self) -> None:
        """An empty draft."""
        self.replace({}, "An empty study")
        # Not into a field, whose Ctrl+Z would be about what is typed there.
        next(iter(self.data.models.values())).setFocus()

    # -- files -----------------------------------------------------------------------------

    def load(self, path: Path) -> None:
        """Show a study file; a bad one leaves the draft as it is."""
        try:
            study = Study.from_toml(path, absent_models=True)
        except CrumpleError as error:
            self.notify.emit(Message.of(error))
            return
        self.notify.emit(None)
        self.replace(study.to_dict(), f"“{study.name}”")
        self.start_button.setFocus()

    def ask_open(self) -> None:
        """Ask for a study file and show it."""
        path = file_dialogs.ask_open(self, "Open a study", file_dialogs.STUDIES)
        if path is not None:
            self.load(path)

    def ask_save(self) -> None:
        """Ask where to write the study file."""
        if self.planned is None:
            return
        path = file_dialogs.ask_save(self, "Save the study", file_dialogs.STUDIES, "study.toml")
        if path is None:
            return
        try:
            path.write_text(self.planned.to_toml(), "utf-8")
        except OSError as error:
            text = f"The study file {path} cannot be written: {error.strerror}."
            self.notify.emit(Message(text, "Choose another folder.", "error"))
        else:
            self.notify.emit(Message(f"Saved as {path}.", level="ok"))

    # -- running ---------------------------------------------------------------------------

    def start(self) -> None:
        """Queue the study, let the queue run, and watch it."""
        if self.study is not None:
            self.notify.emit(None)  # what was said of an earlier try
            self.context.client.submit(self.study)
            self.context.client.pause(False)
            self.go.emit("live", None)

    def enqueue(self) -> None:
        """Queue the study; the queue stays paused or running as it is."""
        if self.study is not None:
            self.notify.emit(None)
            self.context.client.submit(self.study)
            self.go.emit("queue", None)


def _worst_case_box() -> QCheckBox:
    box = QCheckBox("Worst case only")
    box.setToolTip(
        "One run for each variant and ball instead of one for each attack: stored examples of the "
        "images come first, then each attack goes only after what is left. As strong as all "
        "attacks in full, and faster; what one of them alone would reach is not measured."
    )
    return box


def _paces(store: Store, device: str) -> Paces:
    """What runs took on this machine and device; on the thread that reads the results."""
    machine = platform.platform()

    def here(row: PaceRow | StepPaceRow) -> bool:
        return row["platform"] == machine and device in ("", row["device"])

    return Paces(filter(here, store.paces()), filter(here, store.step_paces()))
