"""Errors that a user can act on.

Everything else that is raised is a bug and keeps its traceback.
"""

from __future__ import annotations

_LONGEST = 80
"""Characters of a value in an error."""


def quoted(value: object) -> str:
    """A value as study files have it, cut where it is long."""
    try:
        text = str(value).lower() if isinstance(value, bool) else repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class CrumpleError(Exception):
    """One clear sentence for the user, and what to do next.

    Args:
        message: what is wrong, in one sentence, naming the field and the value.
        hint: the next step, one sentence; may be empty.
        field: the option of the command line that is to blame, without dashes; empty where it is
            none or is not known.
        table: what the sentence is about in rows, the first the headings; may be empty.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        field: str = "",
        table: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field
        self.table = table

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()

    def __reduce__(self) -> tuple[type[CrumpleError], tuple[str, str], dict[str, object]]:
        return type(self), (self.message, self.hint), {"field": self.field, "table": self.table}


class SpecError(CrumpleError):
    """A study, a step or an attack asks for something that does not exist or is out of bounds."""


class DataError(CrumpleError):
    """A dataset is missing, empty, truncated or of the wrong shape."""


class ModelError(CrumpleError):
    """A model is missing, damaged or does not fit the data."""


class DownloadError(CrumpleError):
    """A file cannot be fetched from the network, or is not the one that was published."""


class StoreError(CrumpleError):
    """The database cannot be opened, read or written."""


class AttackError(CrumpleError):
    """An attack cannot work on this model or data."""


class TrainingError(CrumpleError):
    """Training cannot go on, for example because the loss is no longer finite."""


class DeviceLost(CrumpleError):
    """The device answers nobody in this process any more; only a fresh process can go on.

    After an illegal access or a failed assertion in one of its kernels a GPU refuses every
    further call of the process.
    """


class Cancelled(Exception):
    """The work was stopped on request; not an error."""
