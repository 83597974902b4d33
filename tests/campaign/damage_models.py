"""Damage to the files of a model and of a stored variant: told, or computed anew, never used.

``python -m tests.campaign.damage_models``
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from engine.catalog.models.cards import read_card
from engine.errors import CrumpleError
from engine.host import paths
from engine.models.files.bundle import load
from engine.pipeline import runner
from engine.specs.study import Study
from engine.store import Writer
from engine.store.artifacts import folder_of
from tests.campaign.damage_kinds import flip, truncate
from tests.helpers.studies import small_study

PLACES = 5


def _another(_: random.Random, file: Path) -> None:
    """The weights of a network of the same shape."""
    other = paths.resources() / "models" / f"digits-resnet-at{file.suffix}"
    shutil.copy(other, file)


def _folder(_: random.Random, file: Path) -> None:
    file.unlink()
    file.mkdir()


HOW: dict[str, Callable[[random.Random, Path], object]] = {
    "flipped": flip,
    "truncated": truncate,
    "emptied": lambda _, file: file.write_bytes(b""),
    "removed": lambda _, file: file.unlink(),
    "a folder": _folder,
    "another's": _another,
}


def model(how: str, suffix: str, place: int) -> str:
    """Damage a file of a model, then load it."""
    rng = random.Random(f"{how} {suffix} {place}")
    pictures = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as name:
        for end in (".json", ".safetensors"):
            shutil.copy(paths.resources() / "models" / f"digits-resnet{end}", name)
        card_file = Path(name) / "digits-resnet.json"
        expected = load(read_card(card_file), Path(name))(pictures)
        HOW[how](rng, card_file.with_suffix(suffix))
        try:
            found = load(read_card(card_file), Path(name))(pictures)
        except CrumpleError:
            return "told"
        except Exception:  # noqa: BLE001  that is what is looked for
            return "crash\n" + traceback.format_exc(limit=-3)
        return "harmless" if torch.equal(found, expected) else "wrong"


def _study(*radii: float) -> Study:
    return small_study(attack=[{"name": "fgsm", "eps": list(radii)}])


def _run(path: Path, *radii: float) -> list[dict[str, object]]:
    with Writer(path) as store:
        how = runner.Options(device="cpu")
        runner.run(_study(*radii), store, lambda _: None, options=how)
        names = ("compression", "attack", "status", "robust_accuracy", "clean_accuracy", "n")
        return [{name: dict(row)[name] for name in names} for row in store.results("small")]


def variant(whole: Path, expected: list[dict[str, object]], how: str, suffix: str) -> str:
    """Damage the files of the variants of a database, then attack them once more."""
    rng = random.Random(f"{how} {suffix}")
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / whole.name
        shutil.copy(whole, path)
        shutil.copytree(folder_of(whole), folder_of(path))
        for file in sorted((folder_of(path) / "variants").rglob(f"*{suffix}")):
            HOW[how](rng, file)
        try:
            rows = _run(path, 0.05, 0.1)
        except CrumpleError:
            return "told"
        except Exception:  # noqa: BLE001  that is what is looked for
            return "crash\n" + traceback.format_exc(limit=-3)
    if rows == expected:
        return "computed anew"
    wrong = [a for a, b in zip(rows, expected, strict=True) if a != b and a["status"] == "finished"]
    return "wrong" if wrong else "told"


def main() -> None:
    """Print the counts; exit 1 if anything was wrong or crashed."""
    totals: Counter[str] = Counter()
    for how in HOW:
        for suffix in (".json", ".safetensors"):
            found = [model(how, suffix, place) for place in range(PLACES)]
            _print(f"{suffix} of a model {how}", found, totals)
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "lab.db"
        _run(whole, 0.05)
        twin = Path(name) / "twin.db"
        expected = _run(twin, 0.05, 0.1)
        for how in HOW:
            for suffix in (".json", ".safetensors"):
                found = [variant(whole, expected, how, suffix)]
                _print(f"{suffix} of a variant {how}", found, totals)
    print(dict(totals))
    sys.exit(bool(totals["wrong"] or totals["crash"]))


def _print(kind: str, found: list[str], totals: Counter[str]) -> None:
    words = Counter(text.split("\n")[0] for text in found)
    totals.update(words)
    print(f"{kind}: " + ", ".join(f"{count} {word}" for word, count in words.items()), flush=True)
    for text in found:
        if "\n" in text:
            print("    " + text.replace("\n", "\n    "), flush=True)


if __name__ == "__main__":
    main()
