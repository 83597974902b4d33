"""Try a thing many times with damaged input and count what came of it.

A round is clear (one sentence that names what is wrong), accepted (and then checked), or a crash:
an error that is no ``CrumpleError``, a hang, or a file written outside of the folder of the round.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from engine.errors import CrumpleError

Attempt = Callable[[random.Random, Path], str]
"""Makes an input in the folder and uses it; returns what kind of input it was."""

PATIENCE = 30
"""CPU seconds after which a round counts as hanging, however busy the machine is."""


class Hang(BaseException):
    """A round took too long; no ``except Exception`` may swallow it."""


class Wrong(Exception):
    """An input was accepted, but not as what it says."""


@dataclass
class Tally:
    """What came of the rounds.

    Attributes:
        clear: refused in one sentence.
        accepted: used without complaint.
        crashes: round and reason.
    """

    name: str
    seed: int
    clear: int = 0
    accepted: int = 0
    crashes: list[tuple[int, str]] = field(default_factory=list)
    kinds: dict[str, int] = field(default_factory=dict)

    @property
    def tried(self) -> int:
        """How many rounds there were."""
        return self.clear + self.accepted + len(self.crashes)

    def report(self) -> str:
        """The counts, and how to see each crash again."""
        lines = [
            f"{self.name} (seed {self.seed}): {self.tried} tried, {self.clear} clear errors, "
            f"{self.accepted} accepted, {len(self.crashes)} crashes"
        ]
        lines += [f"--- round {number}\n{reason.rstrip()}" for number, reason in self.crashes[:10]]
        return "\n".join(lines)


def campaign(name: str, attempt: Attempt, rounds: int, seed: int, first: int = 0) -> Tally:
    """Try it; equal seeds give equal inputs, round by round."""
    tally = Tally(name, seed)
    with tempfile.TemporaryDirectory() as place:
        for number in range(first, first + rounds):
            _round(tally, attempt, number, Path(place))
    return tally


def _round(tally: Tally, attempt: Attempt, number: int, place: Path) -> None:
    rng = random.Random(f"{tally.seed} {number}")
    outer = place / str(number)
    folder = outer / "a" / "b" / "inside"  # leaves room for ../../..
    folder.mkdir(parents=True)
    try:
        with _patience(), contextlib.chdir(folder):
            kind = attempt(rng, folder)
        tally.accepted += 1
        tally.kinds[kind] = tally.kinds.get(kind, 0) + 1
    except CrumpleError as error:
        if not error.message.strip() or "\n" in str(error) or len(str(error)) > 2000:
            tally.crashes.append((number, f"no clear sentence: {str(error)[:500]!r}"))
        else:
            tally.clear += 1
    except (Exception, Hang):  # noqa: BLE001  that is what is looked for
        tally.crashes.append((number, traceback.format_exc(limit=-6)))
    strays = [one for one in outer.rglob("*") if folder not in (one, *one.parents)]
    strays = [one for one in strays if one not in folder.parents]
    if strays:
        tally.crashes.append((number, f"written outside: {', '.join(map(str, strays))}"))


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Hang(f"more than {PATIENCE} s of CPU")

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, PATIENCE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, cut, doubled, blanked or moved, at one to eight places."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        if not data:
            break
        at = rng.randrange(len(data))
        length = min(rng.choice((1, 1, 2, 4, 16, 64)), len(data) - at)
        match rng.randrange(6):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + length] = rng.randbytes(length)
            case 2:
                data[at : at + length] = b"\xff" * length
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length]
            case _:
                del data[at:]
    return bytes(data)


def main(name: str, attempt: Attempt, rounds: int) -> None:
    """``python -m tests.campaign.NAME``: print the counts, exit 1 if anything crashed."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.campaign.{name}")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--first", type=int, default=0, help="number of the first round")
    options = parser.parse_args()
    tally = campaign(name, attempt, options.rounds, options.seed, options.first)
    print(tally.report())
    for kind, count in sorted(tally.kinds.items()):
        print(f"  accepted: {count:6} {kind}")
    sys.stdout.flush()
    os._exit(1 if tally.crashes else 0)  # a decoder that hangs holds nothing up
