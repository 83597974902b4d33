"""The model library by hand: renamed, deleted, brought back; and where its models are used."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine import catalog
from engine.catalog import ModelCard
from engine.catalog.models import library
from engine.errors import ModelError
from engine.store import ModelUsage, Writer
from engine.store.artifacts import models_of
from tests.helpers.filled_store import fill
from tests.helpers.library import put_model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A library in use."""
    folder = models_of(tmp_path / "lab.db")
    catalog.use_library(folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_deleted_model_comes_back_as_it_was(folder: Path) -> None:
    card = put_model(folder, "mine")
    put_model(folder, "other")
    before = content(folder)
    gone = library.delete(card, folder)
    assert set(content(folder)) == {"other.json", "other.safetensors"}
    assert "mine" not in catalog.section("models")
    assert library.trashed(folder) == (gone,)
    assert library.restore(gone, folder) == card
    assert content(folder) == before
    assert catalog.model_card("mine") == card
    assert library.trashed(folder) == ()


def test_two_deleted_models_of_one_name_keep_apart(folder: Path) -> None:
    first = library.delete(put_model(folder, "mine", title="First"), folder)
    second = library.delete(put_model(folder, "mine", title="Second"), folder)
    assert [one.card.title for one in library.trashed(folder)] == ["First", "Second"]
    library.erase(first)
    assert library.trashed(folder) == (second,)
    assert library.restore(second, folder).title == "Second"


def test_nothing_is_overwritten_when_the_name_is_taken(folder: Path) -> None:
    gone = library.delete(put_model(folder, "mine", title="First"), folder)
    put_model(folder, "mine", title="Second")
    before = content(folder)
    with pytest.raises(ModelError, match="'mine' already"):
        library.restore(gone, folder)
    assert content(folder) == before
    assert library.trashed(folder) == (gone,)


def test_a_model_is_moved_whole_or_not_at_all(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = put_model(folder, "mine")
    before, real = content(folder), library.os.replace

    def refuse_weights(source: Path, target: Path) -> None:
        if source.suffix == ".safetensors":
            raise PermissionError(13, "Permission denied")
        real(source, target)

    monkeypatch.setattr(library.os, "replace", refuse_weights)
    with pytest.raises(ModelError, match="Permission denied"):
        library.delete(card, folder)
    assert content(folder) == before


def test_title_and_remark_change_and_nothing_else(folder: Path) -> None:
    card = put_model(folder, "mine")
    changed = library.edit(card, folder, title=" Mine, α ", remark="From the thesis.\n")
    assert (changed.title, changed.remark) == ("Mine, α", "From the thesis.")
    assert catalog.model_card("mine") == changed
    assert changed == card.model_copy(update={"title": "Mine, α", "remark": "From the thesis."})
    assert set(content(folder)) == {"mine.json", "mine.safetensors"}
    with pytest.raises(ModelError, match="title of the model 'mine' is empty"):
        library.edit(card, folder, title=" ", remark="")


def test_bundled_models_stay(folder: Path) -> None:
    bundled = catalog.model_card("digits-resnet")
    for work in (
        lambda: library.delete(bundled, folder),
        lambda: library.edit(bundled, folder, title="x", remark=""),
    ):
        with pytest.raises(ModelError, match="comes with Crumple"):
            work()


def test_a_card_of_before_remarks_is_read(folder: Path) -> None:
    card = put_model(folder, "mine")
    file = folder / "mine.json"
    fields = json.loads(file.read_text("utf-8"))
    del fields["remark"]
    file.write_text(json.dumps(fields), "utf-8")
    assert catalog.model_card("mine") == card


def test_size_counts_card_and_weights(folder: Path) -> None:
    card: ModelCard = put_model(folder, "mine")
    assert library.size_of(card, folder) == sum(len(one) for one in content(folder).values())


def test_usage_counts_runs_studies_and_what_waits(tmp_path: Path) -> None:
    run_ids = fill(tmp_path / "lab.db")
    with Writer(tmp_path / "lab.db") as store:
        assert store.model_usage() == {"digits-resnet": ModelUsage(6, 1, 0)}
        store.set_deleted(run_ids[:2])
        store.db.execute("UPDATE runs SET status = 'waiting' WHERE id = ?", (run_ids[0],))
        assert store.model_usage() == {"digits-resnet": ModelUsage(4, 1, 1)}
        assert store.active_users("digits-resnet") == 1
        assert store.active_users("another") == 0


def test_a_teacher_is_used_too(tmp_path: Path) -> None:
    run_ids = fill(tmp_path / "lab.db")
    with Writer(tmp_path / "lab.db") as store:
        recipe = [{"name": "kd", "params": {"teacher": "big", "epochs": 2}}]
        store.db.execute(
            "UPDATE runs SET spec = json_set(spec, '$.recipe', json(?)) WHERE id IN (?, ?)",
            (json.dumps(recipe), *run_ids[:2]),
        )
        found = store.model_usage()
        assert found == {"digits-resnet": ModelUsage(6, 1, 0), "big": ModelUsage(2, 1, 0)}
        assert store.active_users("big") == 0
        store.db.execute("UPDATE runs SET status = 'running' WHERE id = ?", (run_ids[1],))
        assert store.active_users("big") == store.model_usage()["big"].active == 1
