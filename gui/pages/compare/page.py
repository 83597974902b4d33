"""The Compare page: charts of the compared runs, and their paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from typing import Any, TypeVar

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from engine.errors import CrumpleError
from engine.store import ResultRow
from gui.base.model_names import titles
from gui.base.page_context import PageContext
from gui.base.words import run_count
from gui.bridge.store_version import Version, store_version
from gui.pages.base import Page
from gui.pages.compare.chart_view import ChartView
from gui.pages.compare.compared_runs import Baseline, ComparedRuns, Selection, reader
from gui.pages.compare.difference_panel import DifferencePanel
from gui.pages.compare.export_menu import ExportMenu
from gui.pages.compare.security_view import SecurityView
from gui.pages.compare.tradeoff_view import TradeoffView
from gui.pages.compare.transfer_view import TransferView
from gui.widgets.empty_state import EmptyState
from gui.widgets.filter_line import FilterLine
from gui.widgets.message_bar import Message
from gui.widgets.note_line import NoteLine
from gui.widgets.run_filter import FilterError, RunFilter, parse
from gui.widgets.study_box import StudyBox

V = TypeVar("V", bound=ChartView)

VIEWS: tuple[type[ChartView], ...] = (TradeoffView, SecurityView, TransferView)
"""In the order of their buttons; each is made when it is shown first."""
MOST_RUNS = 10_000
"""More are no picture for anybody, and would keep the window waiting for each frame of it."""
_TOO_MANY = (
    "{count:,} runs are too many for one chart; {most:,} are drawn at most. "
    "Choose a study, or narrow them down by the filter."
)


@dataclass(frozen=True)
class _Asked:
    """What was to be read, and of when."""

    selection: Selection
    filter: RunFilter
    version: tuple[Version | None, int]
    words: dict[str, str]
    baseline: Baseline | None

    def alike(self, other: _Asked) -> bool:
        """Whether only time lies between the two; while one is read the other one waits."""
        return replace(self, version=other.version) == other


class ComparePage(Page):
    """Charts and paired differences of the runs of a study, or of those chosen elsewhere."""

    def __init__(self, context: PageContext, parent: QWidget | None = None) -> None:
        super().__init__(context, parent)
        self._asked: _Asked | None = None
        self._pending = False
        self._too_many = 0
        self._trouble = ""
        self._runs: ComparedRuns | None = None
        self._drawn: dict[ChartView, Selection] = {}
        self._only: tuple[int, ...] = ()
        self._by_hand = False
        self._filter = RunFilter()
        self.studies = StudyBox(self)
        self.filter_line = FilterLine("attack=pgd", self)
        self.only_button = QPushButton(self)
        self.switch = QButtonGroup(self)
        for number, kind in enumerate(VIEWS):
            self.switch.addButton(QPushButton(kind.title, self), number)
        self.controls = QStackedWidget(self)
        self.stack = QStackedWidget(self)
        self.content = QSplitter(Qt.Orientation.Vertical, self.stack)
        self.charts = QStackedWidget(self.content)
        self.export_button = QPushButton("Export", self)
        self.differences = DifferencePanel(context.results, self.content)
        self.table = self.differences.table
        self.export_menu = ExportMenu(
            context.store.path, self.view, self.studies.study, self.table.differences, self
        )
        self.filter_note = NoteLine("Filter message", self)
        self.empty = EmptyState(
            "compare",
            "Nothing to compare yet. Finished runs are drawn here, robust accuracy against size.",
            (("New study", lambda: self.go.emit("new", None)),),
            self.stack,
        )
        self.no_match = EmptyState(
            "filter",
            "No finished run matches the filter and the study.",
            (("Show all runs", self.show_all),),
            self.stack,
        )
        self.reading = EmptyState("compare", "Reading the runs…", parent=self.stack)
        self.too_many = EmptyState("filter", "", parent=self.stack)
        self.trouble = EmptyState("failed", "", parent=self.stack)
        self._build()
        self._connect()
        self._restore()

    # -- layout ----------------------------------------------------------------------------

    def _build(self) -> None:
        self.only_button.setToolTip("Go back to all runs.")
        top = QHBoxLayout()
        top.addWidget(self.studies, 1)
        top.addWidget(self.filter_line, 2)
        top.addWidget(self.only_button)
        self.content.setStretchFactor(0, 1)
        self.content.setSizes([400, 224])
        self.content.setChildrenCollapsible(False)
        for widget in (
            self.reading,
            self.content,
            self.empty,
            self.no_match,
            self.too_many,
            self.trouble,
        ):
            self.stack.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(top)
        layout.addLayout(self._switches())
        layout.addWidget(self.stack, 1)
        layout.addWidget(self.filter_note)  # below, where it moves nothing

    def _switches(self) -> QHBoxLayout:
        """Which chart, and the controls of that chart."""
        row = QHBoxLayout()
        for button in self.switch.buttons():
            button.setCheckable(True)
            button.setAccessibleName(f"Chart: {button.text()}")
            row.addWidget(button)
        self.controls.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Preferred)
        row.addStretch()
        row.addWidget(self.controls)
        row.addWidget(self.export_button)
        return row

    @cached_property
    def tradeoff(self) -> TradeoffView:
        """The runs along two axes."""
        return self._made(TradeoffView)

    @cached_property
    def security(self) -> SecurityView:
        """Their security curves."""
        return self._made(SecurityView)

    @cached_property
    def transfer(self) -> TransferView:
        """What each makes of the examples of the others."""
        return self._made(TransferView)

    def _made(self, kind: type[V]) -> V:
        """A view in its place, with what was chosen in it last time."""
        view = kind(self.context.results, self.charts, self.controls)
        self.charts.addWidget(view)
        self.controls.addWidget(view.controls)
        for before, box in pairwise((self.switch.buttons()[-1], *view.boxes)):
            QWidget.setTabOrder(before, box)
        view.restore(self.context.settings)
        view.picked.connect(self.table.choose)
        view.new_study.connect(lambda: self.go.emit("new", None))
        view.told.connect(partial(self._told, view))
        view.refused.connect(lambda error: self._tell_trouble(str(error)))
        return view

    def _connect(self) -> None:
        self.studies.chosen.connect(self._study_chosen)
        self.filter_line.settled.connect(self._filter_changed)
        self.only_button.clicked.connect(self.show_all)
        self.export_button.setMenu(self.export_menu)
        self.export_menu.notify.connect(self.notify)
        self.switch.idToggled.connect(self._switched)
        self.differences.baseline_chosen.connect(self._read)
        self.table.chosen.connect(self._on_chosen)
        self.table.refused.connect(lambda error: self.notify.emit(Message.of(error)))
        self.table.activated.connect(self._inspect)

    def _restore(self) -> None:
        settings = self.context.settings
        ids, stored = [kind.id for kind in VIEWS], str(settings.value("compare/chart") or "")
        self.switch.button(ids.index(stored) if stored in ids else 0).setChecked(True)
        self.studies.read(self.context.store)
        self._by_hand = settings.contains("compare/study")
        self.studies.choose(str(settings.value("compare/study") or "") or None)
        self.filter_line.set_now(str(settings.value("compare/filter") or ""))

    def save_state(self) -> None:
        settings = self.context.settings
        if self._by_hand:
            settings.setValue("compare/study", self.studies.study() or "")
        settings.setValue("compare/filter", self.filter_line.text())
        settings.setValue("compare/chart", self.view().id)
        for kind in VIEWS:
            if kind.id in vars(self):  # in another one nothing was chosen
                self._view(kind).save_state(settings)

    # -- what is compared ------------------------------------------------------------------

    def refresh(self) -> None:
        self.studies.read(self.context.store)
        if not self._by_hand:
            self.studies.choose_newest()
        self._read()

    def open(self, payload: Any) -> None:
        """Compare these runs, or the runs of a study by its name."""
        self._by_hand = True
        if isinstance(payload, str):
            self._only = ()
            self.studies.read(self.context.store)
            self.studies.choose(payload)
        elif isinstance(payload, list | tuple):
            self._only = tuple(int(run_id) for run_id in payload)
            self.studies.choose(None)
            self.filter_line.set_now("")
        self._read()

    def show_all(self) -> None:
        """Compare all finished runs of all studies."""
        self._only = ()
        self._by_hand = True
        self.studies.choose(None)
        self.filter_line.set_now("")
        self._read()

    def _study_chosen(self) -> None:
        self._by_hand = True
        self._read()

    def _filter_changed(self, text: str) -> None:
        try:
            self._filter = parse(text)
        except FilterError as error:
            self._tell_filter(str(error))
            return
        self._tell_filter("")
        self._read()

    def _tell_filter(self, text: str) -> None:
        """The note takes its room from the table, whose controls stay where they are."""
        chart = self.content.sizes()[0]
        self.filter_note.tell(text, "error")
        for widget in (self, self.stack):
            layout = widget.layout()
            assert layout is not None
            layout.activate()
        self.content.setSizes([chart, sum(self.content.sizes()) - chart])

    def _read(self) -> None:
        """Read what is selected, unless it is as it was when it was read last."""
        runs, selection = self.context.runs, Selection(self.studies.study(), self._only)
        self._name_selection()
        if self._runs is not None and self._runs.selection != selection:
            self._runs = None  # what is of this selection is shown until the news are there
        if runs.complete:
            words = titles()
            baseline = self.differences.baseline()
            self._ask(_Asked(selection, self._filter, self._version(), words, baseline))
        self._show_state()

    def _version(self) -> tuple[Version | None, int]:
        """Runs change with their table; pairs are judged without a change of their runs."""
        pairs = isinstance(self.view(), TransferView)
        return store_version(self.context.store) if pairs else None, self.context.runs.version

    def _ask(self, asked: _Asked) -> None:
        if asked == self._asked or (self._asked and self._pending and asked.alike(self._asked)):
            return
        self._asked, table = asked, self.context.runs.table
        self._pending, self._trouble = False, ""
        places = asked.selection.places(table)
        places = places[asked.filter.mask(table)[places]]
        self._too_many = len(places) if len(places) > MOST_RUNS else 0
        if self._too_many:
            self._runs = None
            self.too_many.text.setText(_TOO_MANY.format(count=self._too_many, most=MOST_RUNS))
            return
        job = reader(
            table, asked.selection, places, asked.words, self._runs, baseline=asked.baseline
        )
        self._pending = True
        take = partial(self._take, asked)
        self.context.results.ask(self, "runs", job, take, self._refuse)

    def _refuse(self, error: CrumpleError) -> None:
        """What cannot be read is told in place of the chart; other runs are asked for as before."""
        self._pending, self._runs = False, None
        self._tell_trouble(str(error))

    def _tell_trouble(self, text: str) -> None:
        self._trouble = text
        self.trouble.text.setText(text)
        self._show_state()

    def _take(self, asked: _Asked, runs: ComparedRuns) -> None:
        if asked != self._asked:
            return
        self._pending = False
        if runs is not self._runs:
            self._runs = runs
            self._draw()
            self.differences.show_runs(runs)
        elif isinstance(self.view(), TransferView):
            self._draw()
        self._read()  # what changed meanwhile, if anything did

    def compared(self) -> Sequence[ResultRow]:
        """The finished runs that are compared."""
        return self._runs.rows if self._runs is not None else ()

    def _name_selection(self) -> None:
        self.only_button.setText(f"Chosen: {run_count(len(self._only))}  ×")
        self.only_button.setVisible(bool(self._only))

    def _show_state(self) -> None:
        """The chart, or why there is none."""
        narrowed = self.filter_line.text() or self.studies.study() or self._only
        reason = self.no_match if narrowed else self.empty
        if self._trouble:
            shown: QWidget = self.trouble
        elif self._too_many:
            shown = self.too_many
        elif self._runs is None or self._drawn.get(self.view()) != self._runs.selection:
            shown = self.reading
        else:
            shown = self.content if self._runs.rows else reason
        self.stack.setCurrentWidget(shown)
        self._enable_export()

    def _told(self, view: ChartView) -> None:
        """A view has drawn what it was given last, or another choice of it."""
        if self._runs is not None and not view.waiting:
            self._drawn[view] = self._runs.selection
        if view is self.view():
            view.choose(self.selected_runs())
            self._show_state()

    def settled(self) -> bool:
        """Whether everything that was asked for is there."""
        if self._trouble:
            return True
        if self._pending or self.view().waiting:
            return False
        return self._too_many > 0 or (self._runs is not None and self.table.settled())

    def view(self) -> ChartView:
        """The chart in sight."""
        return self._view(VIEWS[self.switch.checkedId()])

    def _view(self, kind: type[ChartView]) -> ChartView:
        view: ChartView = getattr(self, kind.id)
        return view

    def _switched(self, _number: int, checked: bool) -> None:
        if checked:
            self.charts.setCurrentWidget(self.view())
            self.controls.setCurrentWidget(self.view().controls)
            self._draw()

    def _draw(self) -> None:
        if self._runs is not None:
            self._trouble = ""
            self.view().show_rows(self._runs.rows)
        self._show_state()

    def _enable_export(self) -> None:
        shown = self.stack.currentWidget() is self.content
        self.export_button.setEnabled(shown and bool(self.drawn_runs()))

    def _on_chosen(self, run_ids: list[int]) -> None:
        self.view().choose(run_ids)
        self.selected.emit(run_ids)

    def selected_runs(self) -> list[int]:
        return self.table.selected()

    def _inspect(self) -> None:
        if self.selected_runs():
            self.go.emit("inspector", self.selected_runs()[0])

    def focus_filter(self) -> None:
        self.filter_line.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.filter_line.selectAll()

    # -- taking it elsewhere ---------------------------------------------------------------

    def export(self) -> None:
        if self.export_button.isEnabled():
            self.export_button.showMenu()

    def drawn_runs(self) -> list[int]:
        """The runs that are drawn."""
        return self.view().drawn_runs()
