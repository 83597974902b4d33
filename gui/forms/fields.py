"""The controls of a form: one parameter each, made from its annotation; lists are sweeps."""

from __future__ import annotations

import math
from fractions import Fraction
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo
from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QWidget

from engine.catalog import format_number
from gui.widgets.inputs import ComboBox, LineEdit

_SEPARATOR = ", "


def parse(text: str) -> Any:
    """Read what was typed: a number, a fraction or a word; with commas a list of them.

    >>> parse("0.5, 8/255")
    [0.5, '8/255']
    """
    parts = [_parse_one(part.strip()) for part in text.split(",") if part.strip()]
    return parts[0] if len(parts) == 1 else parts


def _parse_one(text: str) -> Any:
    if "_" in text:  # Python would read 1_0 as 10
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    fraction = text.replace(" ", "") if "/" in text else text
    try:
        float(Fraction(fraction))
    except OverflowError:
        return math.inf
    except (ValueError, ZeroDivisionError):
        return text  # a path keeps its spaces
    return fraction


def show(value: Any) -> str:
    """Write a value so that ``parse`` gives it back."""
    if isinstance(value, list):
        return _SEPARATOR.join(show(item) for item in value)
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    fraction = format_number(value)
    short = len(repr(value)) <= 8 or "/" not in fraction or float(Fraction(fraction)) != value
    return repr(value) if short else fraction


class Field(QWidget):
    """One parameter.

    Signals:
        changed: a person has changed it.
    """

    changed = Signal()

    def __init__(self, info: FieldInfo, control: QWidget) -> None:
        super().__init__()
        self.default = info.default
        self.given = False
        self.control = control
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(control, 1)
        self.setFocusProxy(control)

    def value(self) -> Any:
        """What stands in the control; None if it is left to the default."""
        raise NotImplementedError

    def put(self, value: Any) -> None:
        """Fill the control."""
        raise NotImplementedError

    def written(self) -> Any:
        """The value for the study file: None where the file need not name it."""
        return self.value() if self.given or self.differs() else None

    def differs(self) -> bool:
        """Whether it is not left to the default."""
        return bool(self.value() != self.default)


class TextField(Field):
    """A number or a word, or several."""

    def __init__(self, info: FieldInfo) -> None:
        self._line = LineEdit()
        super().__init__(info, self._line)
        auto = info.default is None
        self._line.setPlaceholderText("auto" if auto else show(info.default))
        self.put(info.default)
        self._line.textEdited.connect(lambda _text: self.changed.emit())

    def value(self) -> Any:
        parsed = parse(self._line.text())
        return None if parsed == [] else parsed

    def put(self, value: Any) -> None:
        self._line.setText("" if value is None else show(value))
        self._line.setCursorPosition(0)

    def written(self) -> Any:
        same = self.default is not None and not self.differs()
        return None if same and not self.given else self.value()

    def differs(self) -> bool:
        # As text, so that 8/255 equals the default that it was shown for.
        same = self.default is not None and self._line.text() == show(self.default)
        return not same and self.value() is not None


class FlagField(Field):
    """Yes or no; both where a study file sweeps it."""

    def __init__(self, info: FieldInfo) -> None:
        self._box = QCheckBox()
        super().__init__(info, self._box)
        self.put(info.default)
        self._box.clicked.connect(lambda _on: self.changed.emit())

    def value(self) -> Any:
        state = self._box.checkState()
        if state == Qt.CheckState.PartiallyChecked:
            return [False, True]
        return state == Qt.CheckState.Checked

    def put(self, value: Any) -> None:
        both = isinstance(value, list) and len(set(map(bool, value))) == 2
        self._box.setTristate(both)
        self._box.setText("both" if both else "")
        if both:
            self._box.setCheckState(Qt.CheckState.PartiallyChecked)
        else:
            self._box.setChecked(bool(value[0] if isinstance(value, list) and value else value))


class ChoiceField(Field):
    """One of a few words; a sweep of a study file is one more choice."""

    def __init__(self, info: FieldInfo, options: tuple[Any, ...]) -> None:
        self._combo = ComboBox()
        super().__init__(info, self._combo)
        self._values: list[Any] = []
        for option in options:
            self._add(option)
        self.put(info.default)
        self._combo.activated.connect(lambda _index: self.changed.emit())

    def _add(self, value: Any) -> None:
        self._values.append(value)
        self._combo.addItem(show(value))

    def value(self) -> Any:
        return self._values[self._combo.currentIndex()]

    def put(self, value: Any) -> None:
        with QSignalBlocker(self._combo):
            if value not in self._values:
                self._add(value)
            self._combo.setCurrentIndex(self._values.index(value))


def make_field(info: FieldInfo) -> Field:
    """The control that fits the annotation of a parameter."""
    kinds = [kind for kind in (get_args(info.annotation) or ()) if kind is not NoneType]
    if get_origin(info.annotation) is Literal:
        return ChoiceField(info, get_args(info.annotation))
    if len(kinds) == 1 and get_origin(kinds[0]) is Literal:
        return ChoiceField(info, (None, *get_args(kinds[0])))
    if info.annotation is bool:
        return FlagField(info)
    return TextField(info)
