"""The right to write goes while a study is computed: told, and what is finished stays.

The study runs in a process of its own, ``crumple run``. Root may write whatever the rights say,
so where this is root the process gives that privilege up; where that cannot be done, the kind is
not counted.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from engine.errors import CrumpleError
from engine.store import Store, Writer
from engine.store.artifacts import folder_of
from tests.campaign.two_writers import some_study
from tests.helpers.patience import until

RUNS = 8
_ORDINARY = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
"""Root without these is an owner like any other."""


class NotHere(Exception):
    """A kind of damage cannot be done on this machine."""


@contextmanager
def _chmod(*paths: Path) -> Iterator[None]:
    before = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        yield
    finally:
        for path, mode in before.items():
            with suppress(FileNotFoundError):  # the log goes when the last one closes
                path.chmod(mode)


@contextmanager
def _immutable(*paths: Path) -> Iterator[None]:
    """Also for who has the file open, as on a disk that the system takes for broken."""
    try:
        subprocess.run(["chattr", "+i", *paths], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotHere(f"chattr: {error}") from None
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *paths], check=True)


def _database(path: Path) -> list[Path]:
    return [file for file in path.parent.glob(f"{path.name}*") if file.suffix != ".toml"]


def _files(path: Path) -> list[Path]:
    return [file for file in _database(path) if file.is_file() and file.suffix != ".lock"]


def _folders(path: Path) -> list[Path]:
    folder = folder_of(path)
    return [path.parent, folder, *(one for one in folder.rglob("*") if one.is_dir())]


KINDS: dict[str, Callable[[Path], AbstractContextManager[None]]] = {
    "database without the right to write": lambda path: _chmod(*_files(path)),
    "database read-only": lambda path: _immutable(*_files(path)),
    "folder read-only": lambda path: _chmod(*_folders(path)),
}

WINDOWS = {"read-only beside a window": "database read-only"}
"""Kinds that are about who only reads, and how the right goes."""
KINDS |= {kind: KINDS[same] for kind, same in WINDOWS.items()}

_READ = """
import sys
from pathlib import Path
from engine.errors import CrumpleError
from engine.store import Store
with Store(Path(sys.argv[1])) as store:
    print(len(store.results()), flush=True)
    sys.stdin.readline()
    try:
        store.results()
    except CrumpleError as error:
        sys.exit(str(error))
"""


def attempt(kind: str, place: int) -> str:
    """Take the right to write after some runs: told, harmless, or what else came of it.

    Raises:
        NotHere: it cannot be done here.
    """
    return _read_beside(kind) if kind in WINDOWS else _run(kind, place)


def _run(kind: str, place: int) -> str:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a" / "lab.db"
        path.parent.mkdir()
        study = Path(name) / "study.toml"
        radii = [0.5 + i / 100 for i in range(RUNS // 2)]  # nothing is left to search
        study.write_text(some_study(0, attack=[{"name": "fgsm", "eps": radii}]).to_toml(), "utf-8")
        moment = random.Random(f"{kind} {place}").randrange(1, RUNS - 4)
        with _compute(study, path) as child:
            until(
                lambda: len(_finished(path)) >= moment or child.poll() is not None,
                "runs",
                lambda: time.sleep(0.1),
            )
            before = _finished(path)
            with KINDS[kind](path):
                _, said = child.communicate()
        kept = _readable(path)
        with _compute(study, path) as again:
            _, later = again.communicate()
        if not set(before) <= set(kept):
            return f"lost\n{before} {kept}"
        if again.returncode or len(_readable(path)) < RUNS:
            return f"not finished afterwards\n{later}"
        return _word(child.returncode, said, len(kept))


def _read_beside(kind: str) -> str:
    """Another process writes between what a reader reads, so that it has a mark to leave."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "lab.db"
        with Writer(path) as writer:
            reader = subprocess.Popen(
                [sys.executable, "-P", "-c", _READ, path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )
            assert reader.stdout is not None
            reader.stdout.readline()
            with writer.db.atomic():
                writer.db.execute("PRAGMA user_version = 1")
            with KINDS[kind](path):
                _, said = reader.communicate("again\n")
    return _word(reader.returncode, said, RUNS)


def _compute(study: Path, path: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    command = (sys.executable, "-P", "-m", "engine", "run", study, "--db", path, "--device", "cpu")
    return subprocess.Popen(
        [*(_ORDINARY if os.geteuid() == 0 else ()), *command, "--resume"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )


def _finished(path: Path) -> list[int]:
    if not path.exists():
        return []
    with suppress(CrumpleError), Store(path, readonly=True) as store:
        return store.ids("finished")
    return []  # its tables are being made


def _readable(path: Path) -> list[int]:
    """The finished runs, each with its verdicts and its images."""
    with Store(path, readonly=True) as store:
        for run_id in (ids := store.ids("finished")):
            if len(store.samples(run_id)) != store.run(run_id)["n"]:
                raise CrumpleError(f"Run {run_id} lost verdicts.")
            store.images(run_id)
        return ids


def _word(code: int, said: str, finished: int) -> str:
    if "Traceback" in said or code < 0:
        return f"crash\n{said[-1500:]}"
    if not code:
        return "harmless" if finished == RUNS else "silent"
    return "told" if said.strip() else "silent"
