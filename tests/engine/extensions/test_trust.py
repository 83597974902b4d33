"""Nothing of a file runs before it is trusted, and trust ends where the file changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import catalog, extensions
from engine.errors import SpecError, StoreError
from engine.extensions import child
from engine.host import paths
from tests.helpers.own_methods import (
    ATTACK,
    EXAMPLES,
    HEAD,
    forget,
    has_run,
    without_processes,
    write,
)


@pytest.fixture(autouse=True)
def own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_processes(monkeypatch, tmp_path)


def trust(file: Path) -> None:
    extensions.add(file, lambda _: True)


def test_without_consent_nothing_runs(tmp_path: Path) -> None:
    file = write(tmp_path)
    with pytest.raises(SpecError, match="nobody confirmed"):
        extensions.add(file, lambda _: False)
    assert not has_run(file)
    assert extensions.activate() == ()
    assert "mine" not in catalog.section("attacks")
    assert not paths.methods().exists()


def test_what_is_trusted_is_offered_and_runs_only_to_be_used(tmp_path: Path) -> None:
    file = write(tmp_path)
    trust(file)
    forget(file)
    (state,) = extensions.activate()
    assert (state.name, state.ids, state.problem) == (str(file), ("mine",), "")
    entry = catalog.find("attacks", "mine")
    assert entry.title == "Mine (own.py)"
    assert entry.origin is not None
    assert entry.origin.name == "own.py"
    assert not has_run(file)


def test_a_changed_file_is_left_out_and_named_until_it_is_trusted_again(tmp_path: Path) -> None:
    file = write(tmp_path)
    trust(file)
    forget(file)
    write(tmp_path, f"{ATTACK}\n# one more line")
    (state,) = extensions.activate()
    assert "has changed" in state.problem
    assert not state.ids
    assert "mine" not in catalog.section("attacks")
    assert not has_run(file)
    trust(file)
    assert "mine" in catalog.section("attacks")
    (state,) = extensions.activate()
    assert not state.problem


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    file = write(tmp_path)
    trust(file)
    file.unlink()
    (state,) = extensions.activate()
    assert "own.py" in state.problem
    assert "mine" not in catalog.section("attacks")


@pytest.mark.parametrize("by", ["path", "name", "id"])
def test_trust_can_be_taken_back(tmp_path: Path, by: str) -> None:
    file = write(tmp_path)
    trust(file)
    extensions.remove({"path": str(file), "name": "own.py", "id": "mine"}[by])
    assert "mine" not in catalog.section("attacks")
    assert extensions.activate() == ()
    with pytest.raises(SpecError, match="No trusted file"):
        extensions.remove("own.py")


@pytest.mark.parametrize(
    ("section", "kind", "id_"),
    [
        ("attack", "AttackMethod(entry('pgd'), make)", "pgd"),
        ("attack", "AttackMethod(entry('torchattacks.mine'), make)", "torchattacks.mine"),
        ("compression", "CompressionMethod(entry('none'), make)", "none"),
        ("dataset", "DatasetMethod(entry('digits', params=Params), make)", "digits"),
    ],
)
def test_an_id_of_crumple_is_taken(tmp_path: Path, section: str, kind: str, id_: str) -> None:
    before = catalog.section(f"{section}s")
    file = write(tmp_path, f"{HEAD}\nMETHODS = [{kind}]")
    with pytest.raises(SpecError, match=f"The {section} '{id_}' has the id of one of Crumple"):
        trust(file)
    assert catalog.section(f"{section}s") == before
    assert extensions.activate() == ()


def test_an_id_of_another_file_is_taken(tmp_path: Path) -> None:
    trust(write(tmp_path))
    with pytest.raises(SpecError, match=r"one of own\.py"):
        trust(write(tmp_path, f"{ATTACK}#", "other.py"))
    assert len(extensions.activate()) == 1


BROKEN = {
    "raises": ("1 / 0", "ZeroDivisionError"),
    "exits": ("raise SystemExit(3)", "SystemExit"),
    "is no Python": ("def", "SyntaxError"),
    "imports what is missing": ("import torhc_missing", "torhc_missing"),
    "lists nothing": ("METHODS = []", "no list METHODS"),
    "lists no method": ("METHODS = [P]", "must give AttackMethod"),
    "twice one id": ("METHODS = [AttackMethod(entry(), make)] * 2", "two attacks"),
    "bad id": ("METHODS = [AttackMethod(entry('My Attack'), make)]", "My Attack"),
    "no title": ("METHODS = [AttackMethod(entry(title=''), make)]", "title"),
    "two lines": ("METHODS = [AttackMethod(entry(summary='a\\nb'), make)]", "summary"),
    "no entry": ("METHODS = [AttackMethod(P, make)]", "must be an Entry"),
    "no params": ("METHODS = [AttackMethod(entry(params=dict), make)]", "extends Params"),
    "unknown trait": (
        "METHODS = [AttackMethod(entry(traits=frozenset({'strong'})), make)]",
        "traits",
    ),
    "unknown norm": ("METHODS = [AttackMethod(entry(norm='L1'), make)]", "L1"),
    "no default": (
        "class Q(Params):\n    eps: Number = Field(ge=0)\n"
        "METHODS = [AttackMethod(entry(params=Q), make)]",
        "no default",
    ),
    "strange parameter": (
        "class Q(Params):\n    sides: tuple[int, int] = (1, 2)\n"
        "METHODS = [AttackMethod(entry(params=Q), make)]",
        "'sides'",
    ),
    "pattern": (
        "class Q(Params):\n    word: str = Field('a', pattern='a+')\n"
        "METHODS = [AttackMethod(entry(params=Q), make)]",
        "'word'",
    ),
    "reserved": (
        "class Q(Params):\n    origin: int = 1\nMETHODS = [AttackMethod(entry(params=Q), make)]",
        "'origin'",
    ),
    "dataset with parameters": ("METHODS = [DatasetMethod(entry(), make)]", "no parameters"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_by_name_and_harms_nothing(tmp_path: Path, case: str) -> None:
    trust(write(tmp_path, name="good.py"))
    code, reason = BROKEN[case]
    file = write(tmp_path, f"{HEAD}\n{code}\n", "broken.py")
    with pytest.raises(SpecError, match=reason):
        trust(file)
    (state,) = extensions.activate()
    assert state.ids == ("mine",)


def test_a_file_that_takes_its_process_down_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("CRUMPLE_METHODS", str(tmp_path / "record"))
    file = write(tmp_path, "import os\nprint('{}')\nos._exit(7)\n")
    with pytest.raises(SpecError, match=r"own\.py ended its process"):
        trust(file)
    assert extensions.activate() == ()


def test_a_process_of_its_own_gives_what_this_one_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tests.helpers.own_methods import described

    monkeypatch.undo()
    monkeypatch.setenv("CRUMPLE_METHODS", str(tmp_path / "record"))
    file = EXAMPLES / "random_pruning.py"
    assert extensions.add(file, lambda _: True) == described(file)


def test_a_damaged_record_is_named_and_the_rest_works(tmp_path: Path) -> None:
    trust(write(tmp_path))
    paths.methods().write_text("{")
    (state,) = extensions.activate()
    assert "cannot be read" in state.problem
    assert "pgd" in catalog.section("attacks")
    with pytest.raises(StoreError, match="cannot be read"):
        trust(write(tmp_path, name="other.py"))


def test_a_description_that_was_tampered_with_is_left_out(tmp_path: Path) -> None:
    trust(write(tmp_path))
    record = json.loads(paths.methods().read_text())
    record["files"][0]["methods"][0]["entry"]["id"] = "pgd"
    paths.methods().write_text(json.dumps(record))
    (state,) = extensions.activate()
    assert "Crumple itself" in state.problem
    assert catalog.find("attacks", "pgd").origin is None


def test_only_the_bytes_that_were_trusted_are_ever_run(tmp_path: Path) -> None:
    """The file changes after it was offered: the code of the change does not run."""
    file = write(tmp_path, f"{ATTACK}# of this test alone")
    trust(file)
    extensions.loading.load.cache_clear()
    forget(file)
    write(tmp_path, f"{ATTACK}# evil")
    with pytest.raises(SpecError, match="changed since it was trusted"):
        extensions.loading.of_provider("attacks", "mine")
    assert not has_run(file)


def test_the_question_names_the_file(tmp_path: Path) -> None:
    asked: list[str] = []
    with pytest.raises(SpecError):
        extensions.add(write(tmp_path), lambda text: bool(asked.append(text)))
    assert str(tmp_path / "own.py") in asked[0]


def test_no_file_is_asked_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(write(tmp_path))

    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(child, "ask", never)
    assert extensions.activate()[0].ids == ("mine",)
