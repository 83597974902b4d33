"""The panel at the right: all that is known of the selected run, and its tags and note."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFocusEvent, QShowEvent
from PySide6.QtWidgets import (
    QFrame,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from engine import catalog
from engine.catalog.worst_case import WORST_CASE
from engine.errors import CrumpleError
from engine.report.evidence import lights, summarise
from engine.report.tables import distance
from engine.statistics.run_checks import Check
from engine.statistics.words import percent
from engine.store import Payload, RunRow
from gui.base.model_names import model_title
from gui.base.page_context import PageContext
from gui.base.undo_commands import EditNote, TagRuns
from gui.bridge.store_version import Version, store_version
from gui.details.cost_facts import compared, cost_facts, why_not_faster
from gui.details.layer_table import LayerTable
from gui.details.method_facts import method_facts
from gui.details.step_lights import step_lights
from gui.widgets.facts import ComparedFacts, Fact, Facts
from gui.widgets.inputs import LineEdit, TextEdit
from gui.widgets.traffic_light import SummaryBanner, TrafficLight

WIDTH = 320


class _Note(TextEdit):
    """A note that is written when it loses the focus."""

    left = Signal()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        super().focusOutEvent(event)
        self.left.emit()


class DetailsPanel(QFrame):
    """Describes one run; for several it says how many. Nothing is read while nobody sees it.

    Signals:
        change: an undoable edit of tags or note.
    """

    change = Signal(object)

    def __init__(self, context: PageContext, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("details")
        self.setFixedWidth(WIDTH)
        self._context = context
        self._run_ids: list[int] = []
        self._method: tuple[str, str] | None = None
        self._seen: Version | None = None
        self._shown: tuple[object, ...] | None = None
        self.title = QLabel(self)
        self.title.setWordWrap(True)
        self.title.setProperty("role", "heading")
        self._body = QScrollArea(self)
        self._body.setWidgetResizable(True)
        self._body.setFrameShape(QFrame.Shape.NoFrame)
        self._body.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._body.setAccessibleName("Facts about the run")
        self.tags, self.note = LineEdit(self), _Note(self)
        self.tags.setPlaceholderText("tags, separated by commas")
        self.tags.setAccessibleName("Tags of the run")
        self.note.setPlaceholderText("note")
        self.note.setAccessibleName("Note on the run")
        self.note.setFixedHeight(80)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 16, 16, 16)
        for widget in (self.title, self._body, self.tags, self.note):
            column.addWidget(widget)
        column.setStretch(1, 1)
        self.tags.editingFinished.connect(self._keep_tags)
        self.note.left.connect(self._keep_note)
        context.client.rows_changed.connect(self._refresh_if_changed)
        self.show_runs([])

    def show_runs(self, run_ids: list[int]) -> None:
        """Describe these runs."""
        self._run_ids, self._method = list(run_ids), None
        self.refresh()

    def show_method(self, section: str, entry_id: str) -> None:
        """Describe a method of the catalogue."""
        self._run_ids, self._method = [], (section, entry_id)
        self.refresh()

    def refresh(self) -> None:
        """Read the run again, unless a person is typing here."""
        if not self.isVisible() or self.tags.hasFocus() or self.note.hasFocus():
            return
        self._seen = store_version(self._context.store)
        if self._method:
            self._describe_method(self._method)
        elif not self._run_ids:
            self._clear("Select a run to see its details.")
        elif len(self._run_ids) > 1:
            self._clear(f"{len(self._run_ids)} runs are selected.")
        else:
            self._read(self._run_ids[0])

    def _refresh_if_changed(self) -> None:
        if self.isVisible() and store_version(self._context.store) != self._seen:
            self.refresh()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self.refresh()

    def _read(self, run_id: int) -> None:
        try:
            row = self._context.store.run(run_id)
            variant = self._context.store.variant(run_id)
            checks = self._context.store.checks(run_id)
        except CrumpleError as error:
            self._clear(str(error))
            return
        if (row, variant, checks) != self._shown:
            self._describe(row, variant, checks)
            self._shown = row, variant, checks

    def _clear(self, title: str) -> None:
        self._shown = None
        self.title.setText(title)
        self.title.setToolTip("")
        # Taking the old contents out would leave their scroll bar behind.
        self._body.setWidget(self._inside())
        for field in (self.tags, self.note):
            field.setVisible(False)

    def _describe(self, row: RunRow, variant: Payload, checks: list[Check]) -> None:
        name = f"{model_title(row['model'])}, {row['compression']}, {row['attack']}"
        self.title.setText(f"Run {row['run_id']}: {name}")
        self.title.setToolTip(f"Model {row['model']}")
        scrolled_to = self._body.verticalScrollBar().value()
        inside, shown_lights = self._inside(), lights(row, checks)
        banner = SummaryBanner(inside)
        banner.show_summary(summarise(row, shown_lights))
        result, light = Facts("Result", _result(row), inside), TrafficLight(shown_lights, inside)
        parts: list[QWidget] = [banner, result, light]
        if records := variant.get("steps"):
            parts.append(TrafficLight(step_lights(records), inside, "Steps"))
        parts += [*self._cost(row, variant, inside), Facts("Study", _spec(row), inside)]
        if row["environment"]:
            parts.append(Facts("Environment", _environment(row["environment"]), inside))
        self._fill(inside, parts)
        self._body.verticalScrollBar().setValue(scrolled_to)
        self.tags.setText(row["tags"])
        self.note.setPlainText(row["note"])
        for field in (self.tags, self.note):
            field.setVisible(True)

    def _describe_method(self, method: tuple[str, str]) -> None:
        if method != self._shown:
            entry = catalog.find(*method)
            self._clear(entry.title)
            inside = self._inside()
            self._fill(
                inside, [Facts(title, facts, inside) for title, facts in method_facts(entry)]
            )
            self._shown = method

    def _cost(self, row: RunRow, variant: Payload, inside: QWidget) -> list[QWidget]:
        """What the variant saves, why it is not faster, and the way to its layers."""
        recipe = row["spec"]["recipe"]
        both = compared(variant, recipe)
        parts: list[QWidget] = [ComparedFacts(both.values(), inside)] if both else []
        parts += [Facts(title, facts, inside) for title, facts in cost_facts(variant, both)]
        if why := why_not_faster(variant, recipe):
            words = QLabel(why, inside)
            words.setWordWrap(True)
            words.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
            parts.append(words)
        if variant.get("accounting", {}).get("layers"):
            title = f"{model_title(row['model'])}, {row['compression']}"
            button = QPushButton("Each layer…", inside)
            button.clicked.connect(
                lambda: LayerTable(title, variant["accounting"], self.window()).show()
            )
            parts.append(button)
        return parts

    def _inside(self) -> QWidget:
        """What is scrolled, in its place from the start: moved there, all in it is styled anew."""
        inside = QWidget(self._body.viewport())
        inside.setObjectName("scrolled")
        return inside

    def _fill(self, inside: QWidget, parts: list[QWidget]) -> None:
        """Show these below each other."""
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 0, 8, 0)
        column.setSpacing(16)
        for part in parts:
            column.addWidget(part)
        column.addStretch()
        self._body.setWidget(inside)

    def _keep_tags(self) -> None:
        if len(self._run_ids) != 1:
            return
        run_id = self._run_ids[0]
        before = str(self._context.store.run(run_id)["tags"])
        if self.tags.text() != before:
            results, text = self._context.results, self.tags.text()
            self.change.emit(TagRuns(results, {run_id: before}, text, self.refresh))

    def _keep_note(self) -> None:
        if len(self._run_ids) != 1:
            return
        run_id = self._run_ids[0]
        before, text = str(self._context.store.run(run_id)["note"]), self.note.toPlainText()
        if text != before:
            results = self._context.results
            self.change.emit(EditNote(results, run_id, before, text, self.refresh))


def _result(row: RunRow) -> list[Fact]:
    facts: list[Fact] = [("state", row["status"], row["message"] or "")]
    if row["hint"]:
        facts.append(("next step", row["hint"], ""))
    if row["robust_accuracy"] is not None:
        interval = f"95 % interval {percent(row['ci_low'])} to {percent(row['ci_high'])}"
        facts += [
            ("robust accuracy", percent(row["robust_accuracy"]), interval),
            ("clean accuracy", percent(row["clean_accuracy"]), f"of {row['n']} images"),
        ]
    elif row["clean_accuracy"] is not None:
        facts += [
            ("median distance", distance(row), "over all images; 0 where misclassified clean"),
            ("clean accuracy", percent(row["clean_accuracy"]), f"of {row['n']} images"),
        ]
    if row["transfer_accuracy"] is not None:
        note = f"on {row['transfer_n']} examples made for the base model"
        facts.append(("transfer", percent(row["transfer_accuracy"]), note))
    if row["black_box_accuracy"] is not None:
        left = " that the attack left" if row["checks"] else ""
        note = f"of {row['black_box_n']} images{left} under an attack without gradients"
        facts.append(("gradient-free", percent(row["black_box_accuracy"]), note))
    if row["naive_accuracy"] is not None:
        note = "under the same attack, not adapted to the defence; quote the lower number"
        facts.append(("naive", percent(row["naive_accuracy"]), note))
    distances = {"l2": row["avg_perturbation_l2"], "linf": row["avg_perturbation_linf"]}
    for norm, value in distances.items():
        if value is not None:
            facts.append((f"mean {norm}", f"{value:.4g}", "over successful examples only"))
    if row["seconds"] is not None:
        queries = row["queries_per_sample"]
        note = "" if queries is None else f"{queries:.4g} queries an image"
        facts.append(("time", f"{row['seconds']:.1f} s", note))
    return facts


def _other_seeds(spec: Payload) -> str:
    """What of a repeat has another seed than its own."""
    named = {"images": spec.get("shared_seed"), "attack": spec.get("attack_seed")}
    return ", ".join(f"{what} {seed}" for what, seed in named.items() if seed is not None)


def _spec(row: RunRow) -> list[Fact]:
    spec = row["spec"]
    facts = [
        ("study", row["study"] or "", ""),
        ("data", row["dataset"], ""),
        ("seed", str(spec["seed"]), _other_seeds(spec)),
    ]
    for step in spec["recipe"]:
        facts.append((step["name"], _params(step["params"]), ""))
    attack = spec["attack"]
    params = dict(attack["params"])
    members = params.pop("attacks") if attack["name"] == WORST_CASE else ()
    facts.append((attack["name"], _params(params), ""))
    facts += [(one["name"], _params(one["params"]), "") for one in members]
    return facts


def _params(params: dict[str, Any]) -> str:
    return "\n".join(f"{name} = {_value(value)}" for name, value in params.items())


def _value(value: Any) -> str:
    if value is None:
        return "auto"
    return catalog.format_number(value) if isinstance(value, float) else str(value)


def _environment(environment: Payload) -> list[Fact]:
    facts: list[Fact] = []
    for name, value in environment.items():
        if isinstance(value, dict):
            text = "\n".join(f"{key} {item}" for key, item in value.items() if item is not None)
        elif isinstance(value, list):
            text = ", ".join(str(item) for item in value)
        else:
            text = str(value)
        if "fingerprint" in name:
            text = f"{text[:16]}…"
        facts.append((name.replace("_", " "), text, ""))
    return facts
