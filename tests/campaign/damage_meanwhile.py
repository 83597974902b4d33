"""What goes wrong while runs are written: the database or its folder goes, the disk is full, or
the right to write is taken away (``damage_rights``).

Each is told in one sentence at the next write at the latest, and what was finished before is
still there, where the database is.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engine.errors import CrumpleError
from engine.specs.study import Study
from engine.store import Store, Writer
from engine.store.artifacts import folder_of
from tests.benchmarks.large_store import queue
from tests.campaign import damage_rights
from tests.campaign.two_writers import some_study, store_run

RUNS = 12
PLACES = 5


def _remove(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        if file.is_file():
            file.unlink()


def _move(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def _replace(path: Path) -> None:
    other = path.with_name("other.db")
    Writer(other).close()
    other.rename(path)


def _remove_folder(path: Path) -> None:
    shutil.rmtree(folder_of(path))


def _folder_of_another(path: Path) -> None:
    (folder_of(path) / "owner.json").write_text('{"database": "x", "file": "x.db"}')


def _file_in_its_place(path: Path) -> None:
    shutil.rmtree(folder_of(path))
    folder_of(path).write_bytes(b"file")


def _remove_all(path: Path) -> None:
    shutil.rmtree(path.parent)


KINDS: dict[str, Callable[[Path], None]] = {
    "database removed": _remove,
    "database moved": _move,
    "database replaced": _replace,
    "database emptied": lambda path: path.write_bytes(b"") and None,
    "folder removed": _remove_folder,
    "folder of another": _folder_of_another,
    "folder a file": _file_in_its_place,
    "everything removed": _remove_all,
}


def _study() -> Study:
    return some_study(
        0, attack=[{"name": "fgsm", "eps": [i / 100 for i in range(1, RUNS // 2 + 1)]}]
    )


def attempt(kind: str, place: int) -> str:
    """Damage between two runs: told, or what else came of it."""
    rng = random.Random(f"{kind} {place}")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "a" / "lab.db"
        path.parent.mkdir()
        store = Writer(path)
        try:
            ids = queue(store, _study())
            moment = rng.randrange(1, RUNS - 1)
            for number, run_id in enumerate(ids):
                if number == moment:
                    KINDS[kind](path)
                store_run(store, run_id)
        except CrumpleError as error:
            return "told" if "\n" not in str(error) else f"wordy: {error}"
        except Exception:  # noqa: BLE001  that is what is looked for
            return "crash\n" + traceback.format_exc(limit=-4)
        finally:
            with suppress(CrumpleError):
                store.close()
        return _afterwards(path, ids[:moment])


def _afterwards(path: Path, finished: tuple[int, ...]) -> str:
    lost = 0
    with Store(path, readonly=True) as store:
        for run_id in finished:
            try:
                store.images(run_id)
            except CrumpleError:
                lost += 1
    return {0: "harmless", len(finished): "told"}.get(lost, "silent")


def full_disk(size: int, folder: Path) -> str:
    """Write runs to a disk with so many KB until it is full; then make room and go on."""
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)], check=True
    )
    finished: list[int] = []
    told = ""
    try:
        path = folder / "lab.db"
        try:
            with Writer(path) as store:
                for run_id in queue(store, _study()):
                    store_run(store, run_id)
                    finished.append(run_id)
        except CrumpleError as error:
            told = str(error)
        except Exception:  # noqa: BLE001  that is what is looked for
            return "crash\n" + traceback.format_exc(limit=-4)
        subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)
        if path.exists():
            with Writer(path) as store:
                ids = queue(store, _study())
                kept = [one for one in finished if store.run(one)["status"] == "finished"]
                if kept != finished:
                    return "lost"
                for run_id in ids:
                    if run_id not in finished:
                        store.clear_batches(run_id)
                        store_run(store, run_id)
                        store.images(run_id)
        return "told" if told else "harmless"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def main() -> None:
    """Print the counts; exit 1 if anything was lost, silent or crashed."""
    parser = argparse.ArgumentParser(prog="python -m tests.campaign.damage_meanwhile")
    parser.add_argument("--places", type=int, default=PLACES)
    parser.add_argument("--kind")
    options = parser.parse_args()
    totals: Counter[str] = Counter()
    every = {**dict.fromkeys(KINDS, attempt), **dict.fromkeys(damage_rights.KINDS, _rights)}
    for kind in [options.kind] if options.kind else every:
        found = [every[kind](kind, place) for place in range(options.places)]
        _print(kind, [text for text in found if text], totals)
    if not options.kind:
        _full_disks(totals)
    print(dict(totals))
    sys.exit(bool(totals.keys() - {"told", "harmless"}))


def _rights(kind: str, place: int) -> str:
    try:
        return damage_rights.attempt(kind, place)
    except damage_rights.NotHere as error:
        print(f"{kind}: cannot be done here: {error}")
        return ""


def _full_disks(totals: Counter[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        sizes = [*range(8, 200, 16), *range(200, 1200, 50)]
        try:
            found = [full_disk(size, Path(name)) for size in sizes]
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"no small disk can be made here: {error}")
        else:
            _print("disk full", found, totals)


def _print(kind: str, found: list[str], totals: Counter[str]) -> None:
    words = Counter(text.split("\n")[0] for text in found)
    totals.update(words)
    print(f"{kind}: " + ", ".join(f"{count} {word}" for word, count in words.items()))
    for text in found:
        if "\n" in text:
            print("    " + text.replace("\n", "\n    "), flush=True)


if __name__ == "__main__":
    main()
