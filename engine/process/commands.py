"""What the window may ask of the worker process; picklable and torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.specs.study import Study


@dataclass(frozen=True)
class Submit:
    """Queue a study."""

    study: Study


@dataclass(frozen=True)
class Cancel:
    """Stop runs, waiting or running."""

    run_ids: tuple[int, ...]


@dataclass(frozen=True)
class Retry:
    """Queue failed or cancelled runs again."""

    run_ids: tuple[int, ...]


@dataclass(frozen=True)
class Pause:
    """Take no new run, or go on."""

    paused: bool


@dataclass(frozen=True)
class Halt:
    """Stop what runs, let it wait again with all that it has finished, and take no new run."""


@dataclass(frozen=True)
class Move:
    """Move waiting runs to the front or the end of the queue."""

    run_ids: tuple[int, ...]
    to_front: bool


@dataclass(frozen=True)
class Shutdown:
    """End the process; the running run goes back into the queue."""


Command = Submit | Cancel | Retry | Pause | Halt | Move | Shutdown


@dataclass(frozen=True)
class Settings:
    """What a worker is started with.

    Attributes:
        first: commands obeyed before any run is taken.
        reserve: processors left to the window.
        last_words: how the process before this one ended; empty if it was the first.
    """

    database: Path
    device: str = "auto"
    precision: str = "auto"
    first: tuple[Command, ...] = (Pause(True),)
    reserve: int = 1
    last_words: str = ""
