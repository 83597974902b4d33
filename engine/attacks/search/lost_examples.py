"""Examples that an attack came across and did not return: the note on them, and its reading."""

from __future__ import annotations

import re

_TEXT = (
    "On {} images the attack came across an example and returned another point; only what it "
    "returns is judged."
)
_PATTERN = re.compile(re.escape(_TEXT).replace(r"\{\}", r"(\d+)"))


def lost_note(count: int) -> str:
    """What an attack notes if it lost the examples of so many images again."""
    return _TEXT.format(count)


def lost_examples(note: str) -> int | None:
    """The count in such a note; None if the note is about something else."""
    found = _PATTERN.fullmatch(note)
    return int(found.group(1)) if found else None
