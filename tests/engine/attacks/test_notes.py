"""Notes are values; their sentences are made at the end, and sentences of before still count."""

from __future__ import annotations

import json

import pytest

from engine.attacks.search import notes
from engine.attacks.search.notes import LOST, Note, added_up

SENTENCES = [
    (
        "On 12 images the attack came across an example and returned another point; only what it "
        "returns is judged.",
        Note(LOST, 12),
    ),
    (
        "Attack failure on 3 images: the example or the model's output on it was not finite, or "
        "the example left the box or the ball; not counted as broken.",
        Note("failure", 3),
    ),
    ("Broken by each part: apgd-ce 3, square 0.", None),
    ("On a few images the attack came across an example.", None),
    ("", None),
]
"""As databases of before have them, and what they say, where a number is counted on."""


@pytest.mark.parametrize(("sentence", "note"), SENTENCES)
def test_a_sentence_of_before_is_shown_as_it_was(sentence: str, note: Note | None) -> None:
    found = Note.from_stored(sentence)
    assert str(found) == sentence
    assert found == (note or Note("other", words=sentence))


@pytest.mark.parametrize("kind", list(notes._TEXTS))
def test_a_note_comes_back_from_the_store(kind: str) -> None:
    note = Note(kind, 7, "words {with} braces")
    assert Note.from_stored(json.loads(json.dumps(note.to_dict()))) == note
    text = str(note)
    assert ("7" in text) == ("{count}" in notes._TEXTS[kind])
    assert ("{with}" in text) == ("{words}" in notes._TEXTS[kind])


def test_a_note_of_a_later_version_is_shown_by_its_words() -> None:
    assert str(Note("of tomorrow", 3, "What it says.")) == "What it says."


def test_counts_of_batches_add_up_and_nothing_else_does() -> None:
    given = [Note(LOST, 2), Note("fp32"), Note("parts", words="a 1"), Note("fp32"), Note(LOST, 3)]
    assert added_up([*given, Note("parts", words="a 2")]) == [
        Note(LOST, 5),
        Note("fp32"),
        Note("parts", words="a 1"),
        Note("parts", words="a 2"),
    ]
