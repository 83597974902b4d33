"""The Python face: its examples run, it gives what studies give, and its errors are mendable."""

from __future__ import annotations

import doctest
import inspect
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from engine import api
from engine.errors import AttackError, DataError, SpecError, StoreError
from engine.events import RunProgress, StudyFinished, StudyQueued
from engine.models import fingerprint
from engine.store import MORE_COLUMNS, RESULT_COLUMNS
from tests.helpers.studies import endless_study

ROOT = Path(__file__).resolve().parents[2]
TABLES: dict[str, Any] = {
    "name": "face",
    "dataset": {"name": "digits", "limit": 10},
    "model": [{"name": "digits-resnet-at"}],
    "compression": [{"name": "magnitude", "sparsity": 0.5}],
    "attack": [{"name": "fgsm", "eps": 0.4}],
}


def test_the_examples_run(tmp_path: Path) -> None:
    seen = doctest.testmod(api, extraglobs={"folder": tmp_path, "torch": torch})
    assert seen.attempted > 10
    assert not seen.failed


@pytest.mark.parametrize("name", api.__all__)
def test_all_that_is_offered_is_described(name: str) -> None:
    offered = getattr(api, name)
    assert (inspect.getdoc(offered) or "").strip()
    if inspect.isfunction(offered) and len(inspect.signature(offered).parameters) > 1:
        text = inspect.getdoc(offered) or ""
        missing = [f"{one}:" for one in inspect.signature(offered).parameters if one not in text]
        assert not missing
        assert "Raises:" in text


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A database with a study of two runs, and the rows that came back."""
    db = tmp_path_factory.mktemp("face") / "face.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.diagnostics.black_box.QUERIES", 100)
        return db, api.run_study(TABLES, db=db, device="cpu")


def test_rows_are_flat_and_stored_rows_are_the_same(
    studied: tuple[Path, list[dict[str, Any]]],
) -> None:
    db, rows = studied
    assert set(rows[0]) == {*RESULT_COLUMNS, *MORE_COLUMNS, "message"}
    for row in rows:
        for value in row.values():
            assert value is None or isinstance(value, str | int | float)
    assert api.results(db) == rows == api.results(str(db), "face")
    assert api.run_study(TABLES, db=str(db), device="cpu") == rows  # found, not made again


def test_rows_make_a_table_of_pandas(studied: tuple[Path, list[dict[str, Any]]]) -> None:
    pandas = pytest.importorskip("pandas")
    assert pandas.DataFrame(studied[1])["robust_accuracy"].between(0, 1).all()


def test_a_study_by_name_gives_its_own_rows_alone(
    studied: tuple[Path, list[dict[str, Any]]],
) -> None:
    db, rows = studied
    again = api.run_study({**TABLES, "compression": []}, db=db, device="cpu")
    assert [row["run_id"] for row in again] == [rows[0]["run_id"]]


def test_compress_gives_what_a_study_attacks(tmp_path: Path) -> None:
    db = tmp_path / "face.db"
    step = {"name": "ptq", "bits": 4, "activation_bits": 8}  # looks at training images
    rows = api.run_study({**TABLES, "compression": [step]}, db=db, device="cpu")
    model = api.load_model("digits-resnet-at")
    before = fingerprint(model)
    variant = api.compress(model, step, api.load_images("digits", part="training"))
    assert fingerprint(model) == before
    with api.Store(db, readonly=True) as store:
        stored = store.run(int(rows[1]["run_id"] or 0))["environment"]
    deployed, view = variant.deployed(), variant.attack_view()
    assert fingerprint(deployed) in str(stored)

    test = api.load_images("digits", limit=10)
    result = api.run_attack(deployed, test.images, test.labels, TABLES["attack"][0], view=view)
    assert rows[1]["robust_accuracy"] == float((~result.broken).double().mean())


def test_a_recipe_may_be_an_id_a_table_a_step_or_several() -> None:
    model = api.load_model("digits-resnet-at")
    table = {"name": "magnitude", "sparsity": 0.5}
    (step,) = api.Study.from_dict(TABLES).recipes()[1]
    prints = {
        fingerprint(api.compress(model, recipe).deployed())
        for recipe in (table, [table], step, (step,))
    }
    assert len(prints) == 1
    two = api.compress(model, ["filter", {"name": "ptq", "bits": 8}])
    assert [one.name for one in two.recipe] == ["filter", "ptq"]


def test_training_images_are_others_than_test_images() -> None:
    test, training = api.load_images("digits"), api.load_images("digits", part="training", limit=50)
    assert len(training) == 50
    known = {one.numpy().tobytes() for one in test.images}
    assert not known & {training.images[row : row + 1][0].numpy().tobytes() for row in range(50)}


def test_progress_is_told_and_a_stop_is_obeyed(tmp_path: Path) -> None:
    seen: list[api.Event] = []

    def stop() -> bool:
        return any(isinstance(event, RunProgress) for event in seen)

    rows = api.run_study(
        endless_study(), db=tmp_path / "x.db", device="cpu", on_event=seen.append, should_stop=stop
    )
    assert isinstance(seen[0], StudyQueued)
    assert isinstance(seen[-1], StudyFinished)
    assert [row["status"] for row in rows] == ["cancelled"]


def test_threads_and_random_states_come_back(studied: tuple[Path, list[dict[str, Any]]]) -> None:
    before = torch.get_rng_state()
    torch.set_num_threads(torch.get_num_threads() + 1)  # the fixture of all tests sets it back
    threads = torch.get_num_threads()
    api.run_study(TABLES, db=studied[0], device="cpu")
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), before)


def test_a_run_that_fails_is_a_row_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AttackError("It cannot climb here.", "Take another.")

    monkeypatch.setattr("engine.pipeline.search.run_attack", fail)
    (row,) = api.run_study({**TABLES, "compression": []}, db=tmp_path / "x.db", device="cpu")
    assert row["status"] == "failed"
    assert "It cannot climb here." in str(row["message"])


def test_bad_input_is_named_and_leaves_no_database(tmp_path: Path) -> None:
    db = tmp_path / "none.db"
    with pytest.raises(SpecError, match="fgsn"):
        api.run_study({**TABLES, "attack": [{"name": "fgsn"}]}, db=db)
    with pytest.raises(SpecError, match="precision"):
        api.run_study(TABLES, db=db, precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="device"):
        api.run_study(TABLES, db=db, device="tpu9")
    with pytest.raises(SpecError, match=r"none\.toml"):
        api.run_study(tmp_path / "none.toml", db=db)
    with pytest.raises(DataError, match="limit"):
        api.run_study({**TABLES, "dataset": {"name": "digits", "limit": 5000}}, db=db)
    with pytest.raises(SpecError, match="part"):
        api.load_images("digits", part="both")  # type: ignore[arg-type]
    with pytest.raises(SpecError, match="digit"):
        api.load_images("digit")
    with pytest.raises(SpecError, match="sparsity"):
        api.compress(api.load_model("digits-resnet"), {"name": "magnitude", "sparsity": 2})
    with pytest.raises(StoreError, match="There is no database"):
        api.results(db)
    assert not db.exists()


def test_imported_models_are_found_by_their_database(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="mine"):
        api.load_model("mine", db=tmp_path / "x.db")


def test_both_halves_say_that_they_are_typed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    packed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    for half in ("engine", "gui"):
        assert half in packed
        assert (ROOT / half / "py.typed").read_bytes() == b""
