"""A process that is asked once: it answers, or it is told why it does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from engine.host import child
from tests.helpers.patience import HANG

CODE = """
import os, threading
from pydantic import BaseModel
from engine.host import child

class Question(BaseModel):
    wish: str

class Answer(BaseModel):
    word: str

def reply(question):
    if question.wish == "fall":
        print("first\\nthe last line.", flush=True)
        os._exit(3)
    if question.wish == "vanish":
        os._exit(4)
    if question.wish == "hang":
        threading.Event().wait()
    print("noise of a library")
    return Answer(word=question.wish + "!")

if __name__ == "__main__":
    child.serve(Question, reply)
"""


class Question(BaseModel):
    wish: str


class Answer(BaseModel):
    word: str


def asked(wish: str, patience: float = HANG) -> str:
    return child.ask("silent_partner", Question(wish=wish), Answer, patience).word


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "silent_partner.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)


def test_it_answers_whatever_else_is_printed() -> None:
    assert asked("grüße") == "grüße!"


def test_its_last_words_are_told() -> None:
    with pytest.raises(child.NoAnswer) as caught:
        asked("fall")
    assert caught.value.said == "the last line"


def test_without_words_the_exit_status_is() -> None:
    with pytest.raises(child.NoAnswer) as caught:
        asked("vanish")
    assert caught.value.said == "exit status 4"


def test_one_that_hangs_is_ended() -> None:
    with pytest.raises(child.TooSlow):
        asked("hang", 1.0)


def test_it_ends_with_the_one_that_asked() -> None:
    code = "from engine.host.child import _end_with; _end_with(-1)"
    done = subprocess.run([sys.executable, "-c", code], timeout=HANG, check=False)
    assert done.returncode == 1
