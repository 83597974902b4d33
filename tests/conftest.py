"""What holds for every test: one thread, no deadline, and nothing left behind."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import settings

import engine  # noqa: F401 - says how threads of OpenMP wait

# Before anything imports torch or numpy: a second thread makes small operations slower, not
# faster, when the tests share the machine.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# A test that is slow because the machine is busy did not fail.
settings.register_profile("crumple", deadline=None)
settings.load_profile("crumple")


@pytest.fixture(autouse=True)
def _no_threads_or_processes_left() -> Iterator[None]:
    """A test joins the threads and ends the child processes that it starts."""
    before = set(threading.enumerate())
    yield
    children = multiprocessing.active_children()
    for child in children:
        child.kill()
        child.join()
    assert not children, f"child processes left running: {children}"
    threads = [t for t in threading.enumerate() if t not in before and t.is_alive()]
    for thread in threads:
        thread.join(timeout=2)
    left = [thread.name for thread in threads if thread.is_alive()]
    assert not left, f"threads left running: {left}"


@pytest.fixture(autouse=True)
def _no_databases_left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A test closes the databases that it opens."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def remember(*args: object, **options: object) -> sqlite3.Connection:
        connection = connect(*args, **options)  # type: ignore[call-overload]
        opened.append(connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", remember)
    yield
    left = [connection for connection in opened if _is_open(connection)]
    for connection in left:
        connection.close()
    assert not left, f"{len(left)} database connections left open"


@pytest.fixture(autouse=True)
def _thread_count_stays() -> Iterator[None]:
    """A test that sets torch's threads, as the command line does, does it for itself only."""
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else 1
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(before)


@pytest.fixture(autouse=True)
def _no_library_left_in_use() -> Iterator[None]:
    """A test that uses a model library uses it for itself only."""
    yield
    if "engine.catalog" in sys.modules:
        sys.modules["engine.catalog"].use_library(None)
        sys.modules["engine.catalog"].use_outside({})


@pytest.fixture(autouse=True, scope="session")
def _no_methods_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests trust no file that the person does who runs them."""
    os.environ["CRUMPLE_METHODS"] = str(tmp_path_factory.mktemp("methods"))


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        connection.total_changes  # noqa: B018 - raises if it is closed
    except sqlite3.ProgrammingError as error:
        # Used in another thread: that thread owns it, and the check on threads covers it.
        return "thread" in str(error)
    return True
