"""What an attack has to say beside its numbers: values, of which sentences are made at the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

LOST = "lost-examples"

_TEXTS = {
    LOST: "On {count} images the attack came across an example and returned another point; only "
    "what it returns is judged.",
    "undefined-output": "The output for {count} clean images is not finite; they count as broken.",
    "failure": "Attack failure on {count} images: the example or the model's output on it was not "
    "finite, or the example left the box or the ball; not counted as broken.",
    "edge": "On {count} images a point on the boundary itself was misclassified in one batch and "
    "not in another; such points are no examples.",
    "blind": "The gradient was not finite at some step of {count} images; taken as zero.",
    "random-model": "The model is random: of each image the point that the search returned was "
    "judged once more, on a draw that no search has seen, and that alone counts.",
    "rescaled": "The logits span {words} (median), which is unusual: where the attack climbs the "
    "cross-entropy it did so on logits of a usual size.",
    "rounds": "Searched in exact fp32: the model rounds, and bf16 would move its steps.",
    "fp32": "Searched in fp32: this attack looks for what bf16 cannot tell apart.",
    "no-restarts": "Restarts were ignored: without a random start all are equal.",
    "two-classes": "The DLR loss needs 3 classes; the margin of the 2 classes was climbed instead.",
    "few-classes": "The targeted DLR loss needs 4 classes; with {words} the plain difference of "
    "the two logits was climbed instead.",
    "few-targets": "{words}.",
    "parts": "Broken by each part: {words}.",
    "parts-bf16": "Broken by each part in bf16: {words}.",
    "other": "{words}",
}


@dataclass(frozen=True)
class Note:
    """One thing that an attack noted.

    Attributes:
        kind: what, one of the kinds above; ``other`` for an attack of one's own.
        count: of images; where several batches noted the same, theirs add up.
        words: what else the sentence says.
    """

    kind: str
    count: int = 0
    words: str = ""

    def __str__(self) -> str:
        return _TEXTS.get(self.kind, _TEXTS["other"]).format(count=self.count, words=self.words)

    def to_dict(self) -> dict[str, Any]:
        """As the store keeps it."""
        return asdict(self)

    @classmethod
    def from_stored(cls, stored: dict[str, Any] | str) -> Note:
        """What the store kept; earlier versions kept the sentence alone."""
        return cls(**stored) if isinstance(stored, dict) else _of_sentence(stored)


def _of_sentence(text: str) -> Note:
    for kind, template in _TEXTS.items():
        before, mark, behind = template.partition("{count}")
        count = text.removeprefix(before).removesuffix(behind)
        if mark and count.isdigit() and text == f"{before}{count}{behind}":
            return Note(kind, int(count))
    return Note("other", words=text)


def added_up(notes: Iterable[Note]) -> list[Note]:
    """The same, with one note for all that differ in their count only."""
    totals: dict[Note, int] = {}
    for note in notes:
        same = replace(note, count=0)
        totals[same] = totals.get(same, 0) + note.count
    return [replace(note, count=count) for note, count in totals.items()]
