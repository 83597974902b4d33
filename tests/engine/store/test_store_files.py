"""The files beside a database: whose they are, and whether they are what was written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from engine.errors import StoreError
from engine.store import Store, Writer
from engine.store.artifacts import folder_of, models_of
from tests.helpers.filled_store import fill
from tests.helpers.kept_database import restore


def batches_of_seven(path: Path) -> Path:
    """A database whose first run kept 20 images in three files; every pixel tells its image."""
    fill(path)
    with Writer(path) as store:
        store.clear_batches(1)
        rows = [
            {**sample, "index": 100 + place} for place, sample in enumerate(store.samples(2), 0)
        ]
        for start in (0, 7, 14):
            part = rows[start : start + 7]
            index = np.array([row["index"] for row in part])
            pixels = np.ones((len(part), 1, 8, 8), np.float32) * index[:, None, None, None] / 256
            batch = {
                "start": start,
                "size": len(part),
                "seconds": 0.1,
                "telemetry": [],
                "notes": [],
            }
            store.add_batch(1, batch, part, {"index": index, "adversarial": pixels})
        clean = np.arange(100, 120, dtype=np.float32)[:, None, None, None] / 256
        file = folder_of(path) / "images" / "data.safetensors"
        file.unlink()
        store.keep_images("data", {"images": clean * np.ones((1, 1, 8, 8), np.float32)})
    return path


def forget_checksums(path: Path) -> None:
    with Writer(path) as store, store.db.atomic():
        store.db.execute("DELETE FROM files")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return batches_of_seven(tmp_path / "lab.db")


def file_of(path: Path, start: int = 7) -> Path:
    return folder_of(path) / "runs" / "1" / f"batch-{start:07d}.safetensors"


def images_of(path: Path) -> Path:
    return folder_of(path) / "images" / "data.safetensors"


def test_clean_and_adversarial_images_are_those_of_one_index(path: Path) -> None:
    with Store(path, readonly=True) as store:
        found = store.images(1)
    assert found["index"].tolist() == list(range(100, 120))
    for name in ("clean", "adversarial"):
        assert np.array_equal(found[name][:, 0, 0, 0] * 256, found["index"])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-40])


def make_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def from_another_run(file: Path) -> None:
    other = file.parents[2] / "runs" / "2" / "batch-0000000.safetensors"
    shutil.copy(other, file)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "flipped": flip,
    "truncated": truncate,
    "empty": lambda file: file.write_bytes(b"") and None,
    "removed": Path.unlink,
    "folder": make_a_folder,
    "another run's": from_another_run,
}


@pytest.mark.parametrize("known", [True, False], ids=["checksum", "from before"])
@pytest.mark.parametrize("which", [file_of, images_of])
@pytest.mark.parametrize("how", DAMAGE)
def test_a_file_that_is_not_what_was_written_is_named(
    how: str, which: Callable[[Path], Path], known: bool, path: Path
) -> None:
    file = which(path)
    if how == "another run's" and which is images_of:
        pytest.skip("clean images belong to all runs")
    if not known:
        if how == "flipped":
            pytest.skip("without a checksum a pixel may be any")
        forget_checksums(path)
    DAMAGE[how](file)
    with Store(path, readonly=True) as store, pytest.raises(StoreError) as told:
        store.images(1)
    assert str(file) in told.value.message
    if which is file_of:  # the others are not concerned
        with Store(path, readonly=True) as store:
            assert len(store.images(2)["index"]) == 3


@pytest.mark.parametrize("keeps", [True, False])
def test_examples_beyond_the_kept_images_are_read_when_they_are_asked_for(
    path: Path, keeps: bool
) -> None:
    none, more = np.zeros((0, 1, 8, 8), np.float32), np.ones((1, 1, 8, 8), np.float32)
    with Writer(path) as store:
        rows = store.samples(1)[:2]
        broken = [{**row, "broken": True, "clean_prediction": row["label"]} for row in rows]
        if not keeps:
            images_of(path).unlink()
            store.keep_images("data", {"images": none})
            store.clear_batches(1)
        start = 20 if keeps else 0
        batch = {"start": start, "size": 2, "seconds": 0.1, "telemetry": [], "notes": []}
        arrays = {"index": np.zeros(0, np.int64), "adversarial": none}
        arrays |= {"more_place": np.array([start + 1]), "more": more}
        store.add_batch(1, batch, broken, arrays)
        places, examples = store.examples(1, start, start + 2)
        assert (places.tolist(), examples.shape) == ([start + 1], more.shape)
        file_of(path, start).unlink()
        assert len(store.images(1)["index"]) == start
        with pytest.raises(StoreError, match="is missing"):
            store.examples(1, start, start + 2)


def test_the_last_file_of_a_run_is_missed_where_its_checksum_is_known(path: Path) -> None:
    file_of(path, 14).unlink()
    with Store(path, readonly=True) as store, pytest.raises(StoreError, match="is missing"):
        store.images(1)


def test_examples_of_other_images_are_refused_though_nothing_is_known_of_them(path: Path) -> None:
    forget_checksums(path)
    arrays = load_file(file_of(path))
    save_file({**arrays, "index": arrays["index"] + 1}, file_of(path))
    with Store(path, readonly=True) as store, pytest.raises(StoreError, match="of another run"):
        store.images(1)


def test_databases_that_differ_in_their_ending_have_a_folder_each(tmp_path: Path) -> None:
    names = ("q.db", "q.sqlite", "q", "q.db.bak")
    for name in names:
        fill(tmp_path / name)
    assert len({folder_of(tmp_path / name) for name in names}) == len(names)
    for name in names:
        with Store(tmp_path / name, readonly=True) as store:
            assert len(store.images(1)["index"]) == 3


def test_the_folder_of_another_database_is_refused(path: Path, tmp_path: Path) -> None:
    other = batches_of_seven(tmp_path / "other.db")
    shutil.rmtree(folder_of(path))
    shutil.copytree(folder_of(other), folder_of(path))
    refused = r"belongs to another database \(other\.db\)"
    with Writer(path) as store:
        with pytest.raises(StoreError, match=refused):
            store.images(1)
        with pytest.raises(StoreError, match=refused):
            store.variant_folder("key")


def test_a_database_may_be_renamed_with_its_folder(path: Path) -> None:
    moved = path.with_name("renamed.db")
    os.rename(folder_of(path), moved.with_name("renamed.db.artifacts"))
    os.rename(path, moved)
    with Writer(moved) as store:
        assert len(store.images(1)["index"]) == 20
        store.keep_images("more", {"images": np.zeros((1, 1, 2, 2), np.float32)})


def test_the_folder_of_an_earlier_version_is_found_and_goes_to_one(tmp_path: Path) -> None:
    first = restore(tmp_path)
    second = tmp_path / "kept.sqlite"
    shutil.copy(first, second)
    former = tmp_path / "kept.artifacts"
    (former / "models").mkdir()
    (former / "models" / "net.json").write_text("{}")
    assert folder_of(first) == folder_of(second) == former
    with Writer(first) as store:
        kept = store.images(1)
        store.keep_images("mine", {"images": np.zeros((1, 1, 2, 2), np.float32)})
    assert folder_of(first) == former
    assert folder_of(second) == tmp_path / "kept.sqlite.artifacts"
    assert models_of(second) == former / "models"
    with Writer(second) as store:
        store.variant_folder("key")
        assert np.array_equal(store.images(1)["adversarial"], kept["adversarial"])
    assert (models_of(second) / "net.json").read_text() == "{}"
    assert models_of(second).parent == folder_of(second)
