"""Forms made from the parameter models of the catalogue, checked by the engine's own rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QGridLayout, QLabel, QVBoxLayout, QWidget

from engine import catalog
from engine.catalog import Params
from engine.errors import SpecError
from engine.specs import choices
from gui.forms.fields import Field, make_field, show
from gui.forms.fold import Fold

_MAKERS = {"compressions": choices.make_step, "attacks": choices.make_attack}
_CHECKED_VALUES = 100
# Wide enough for every title, so that the fields of all methods stand below each other.
_LABEL_WIDTH = 120
_INDENT = 16
_MOST_SHOWN, _LEAST_SPECIAL = 8, 3
_COMMON = ("training", "epochs", "lr", "eps", "attack_steps", "beta")
_GROUPS = {"training": "Training settings", "more": "More settings"}
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


class ParamForm(QWidget):
    """The parameters of one step or attack.

    Args:
        section: "compressions" or "attacks".
        entry_id: whose parameters.

    Signals:
        changed: a person has changed a value.
    """

    changed = Signal()

    def __init__(self, section: str, entry_id: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._section = section
        self._entry = catalog.find(section, entry_id)
        self.fields: dict[str, Field] = {}
        self.errors: dict[str, QLabel] = {}
        self._titles: dict[str, QLabel] = {}
        self.folds: dict[str, Fold] = {}
        self._groups = grouped(self._entry.params)
        grids = {group: self._grid(group) for group, names in self._groups.items() if names}
        where = {name: group for group, names in self._groups.items() for name in names}
        # Made in the order of the catalogue, whatever stands where.
        for name, info in self._entry.params.model_fields.items():
            self._add(grids[where[name]], name, info)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 0, 0, 4)
        column.setSpacing(4)
        for group, grid in grids.items():
            inside = QWidget()
            inside.setLayout(grid)
            column.addWidget(self._folded(group, inside) if group else inside)
        self._show_acting()

    def _grid(self, group: str) -> QGridLayout:
        grid = QGridLayout()
        grid.setContentsMargins(_INDENT if group else 0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        return grid

    def _folded(self, group: str, inside: QWidget) -> Fold:
        title = _GROUPS.get(group, group.capitalize())
        self.folds[group] = Fold(title, inside, self._entry.title)
        return self.folds[group]

    def _idle(self) -> frozenset[str]:
        """What does nothing beside the other values as they stand, and is not in error."""
        given = {name: field.value() for name, field in self.fields.items()}
        values = {name: value for name, value in given.items() if value is not None}
        wrong = (name for name, error in self.errors.items() if error.text())
        return frozenset(self._entry.params.idle(values)).difference(wrong)

    def _show_acting(self) -> None:
        """Hide what does nothing; its value stays for when it does something again."""
        idle = self._idle()
        for name, field in self.fields.items():
            for part in (self._titles[name], field):
                part.setVisible(name not in idle)
        for group, fold in self.folds.items():
            names = [name for name in self._groups[group] if name not in idle]
            fold.setVisible(bool(names))
            self._tell_fold(fold, names)

    def _tell_fold(self, fold: Fold, names: list[str]) -> None:
        """Say on a fold how many parameters it hides, and how many were changed."""
        changed = sum(self.fields[name].differs() for name in names)
        fold.tell(f"{len(names)}, {changed} changed" if changed else str(len(names)))
        if any(self.errors[name].text() for name in names):
            fold.open(True)

    def _add(self, grid: QGridLayout, name: str, info: FieldInfo) -> None:
        title = info.title or name
        field, label, error = make_field(info), QLabel(title), QLabel()
        label.setBuddy(field.control)
        label.setMinimumWidth(_LABEL_WIDTH)
        field.control.setAccessibleName(f"{self._entry.title}: {title}")
        field.control.setToolTip(describe(info))
        label.setToolTip(describe(info))
        error.setProperty("role", "error")
        error.setWordWrap(True)
        error.hide()
        row = grid.rowCount()
        grid.addWidget(label, row, 0, Qt.AlignmentFlag.AlignVCenter)
        grid.addWidget(field, row, 1)
        grid.addWidget(error, row + 1, 0, 1, 2)
        self.fields[name], self.errors[name], self._titles[name] = field, error, label
        field.changed.connect(lambda: self._edited(name))

    def _edited(self, name: str) -> None:
        self._check(name)
        self._show_acting()
        self.changed.emit()

    def put(self, table: Mapping[str, Any]) -> None:
        """Fill the form from a table of a study file."""
        for name, field in self.fields.items():
            field.given = name in table
            field.put(table.get(name, field.default))
            self._check(name)
        self._show_acting()

    def values(self) -> dict[str, Any]:
        """The table for a study file: what it named before, and what is not the default.

        What does nothing and was not named is left out.
        """
        idle = self._idle()
        written = {
            name: field.written()
            for name, field in self.fields.items()
            if field.given or name not in idle
        }
        return {name: value for name, value in written.items() if value is not None}

    def _check(self, name: str) -> None:
        """Say under the field what is wrong with its value."""
        value = self.fields[name].value()
        tried = value if isinstance(value, list) else [value]
        message = ""
        for text in tried[:_CHECKED_VALUES] if value is not None else ():
            try:
                _MAKERS[self._section]({"name": self._entry.id, name: text}, "")
            except SpecError as error:
                message = error.message
                break
        self.errors[name].setText(message)
        self.errors[name].setVisible(bool(message))
        control = self.fields[name].control
        control.setAccessibleDescription(message)
        control.setProperty("invalid", bool(message))
        control.style().polish(control)


def grouped(params: type[Params]) -> dict[str, list[str]]:
    """The parameters by group, "" first: what is always shown.

    The catalogue says what is folded away; of long lists also what comes late and is no common
    parameter of training.
    """
    groups: dict[str, list[str]] = {"": []}
    for name in params.model_fields:
        groups.setdefault(catalog.group_of(params, name), []).append(name)
    if len(groups[""]) > _MOST_SHOWN:
        special = [name for name in groups[""] if not _common(name)]
        room = max(_MOST_SHOWN - (len(groups[""]) - len(special)), _LEAST_SPECIAL)
        late = special[room:]
        groups[""] = [name for name in groups[""] if name not in late]
        if late:
            groups = {"": groups[""], "more": late + groups.pop("more", []), **groups}
    return groups


def _common(name: str) -> bool:
    return name in _COMMON or name.endswith("_epochs")


def describe(info: FieldInfo) -> str:
    """What a parameter means, its bounds and its default, for a tool tip."""
    bounds = [
        f"{word} {show(getattr(rule, key))}"
        for rule in info.metadata
        for key, word in _BOUNDS.items()
        if getattr(rule, key, None) is not None
    ]
    default = "auto" if info.default is None else show(info.default)
    lines = [info.description or "", ", ".join(bounds), f"Default: {default}"]
    return "\n".join(line for line in lines if line)
