"""Training images: own folders and archives, and which ones a study learns from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from engine import catalog, data
from engine.errors import DataError
from engine.events import Event, StageStarted
from engine.pipeline.admission import check
from engine.pipeline.runner import Options, Runner
from engine.specs.choices import make_step
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Study
from engine.store import Writer
from engine.store.stage_keys import learns
from engine.training import hold_out
from tests.helpers.published import pixels

CARD = catalog.model_card("digits-resnet")


def spec(**keys: Any) -> DatasetSpec:
    return DatasetSpec.model_validate(keys)


def write_folder(root: Path, parts: dict[str, int], classes: int = 10, side: int = 8) -> None:
    """``count`` grey pictures a class in each part."""
    for seed, (part, count) in enumerate(parts.items()):
        for class_ in range(classes):
            folder = root / part / f"class {class_:02}"
            folder.mkdir(parents=True)
            for place in range(count):
                picture = pixels(seed * 10_000 + class_ * 100 + place, side, side)
                Image.fromarray(picture).save(folder / f"{place}.png")


def write_npz(file: Path, train: int = 40, classes: int = 10, **more: Any) -> None:
    np.savez(
        file,
        **{
            "x_test": pixels(0, 20, 8, 8, 1),
            "y_test": np.arange(20) % classes,
            "x_train": pixels(1, train, 8, 8, 1),
            "y_train": np.arange(train) % classes,
            **more,
        },
    )


@pytest.mark.parametrize("test", ["test", "val"])
def test_a_folder_of_two_parts(test: str, tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 3, test: 2})
    held = data.load(spec(folder=str(tmp_path)), seed=0)
    learned = data.training_images(spec(folder=str(tmp_path)))
    assert (len(held), len(learned)) == (20, 30)
    assert held.class_names == learned.class_names == tuple(f"class {n:02}" for n in range(10))
    assert isinstance(held.images, torch.Tensor)
    alone = data.load(spec(folder=str(tmp_path / test)), seed=0)
    assert alone.fingerprint == held.fingerprint


def test_classes_that_are_called_train_and_test_are_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "made", {"train": 2}, classes=1)
    for name in ("train", "test"):
        (tmp_path / "own" / name).mkdir(parents=True)
        file = tmp_path / "made" / "train" / "class 00" / "0.png"
        (tmp_path / "own" / name / "0.png").write_bytes(file.read_bytes())
    found = data.load(spec(folder=str(tmp_path / "own")), seed=0)
    assert found.class_names == ("test", "train")
    with pytest.raises(DataError, match="'own' has no training images"):
        data.training_images(spec(folder=str(tmp_path / "own")))


@pytest.mark.parametrize("odd", ["train", "test"])
def test_parts_with_other_classes_are_refused(odd: str, tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 1, "test": 1})
    write_folder(tmp_path / "more", {"x": 1}, classes=1)
    (tmp_path / "more" / "x" / "class 00").rename(tmp_path / odd / "aardvark")
    (tmp_path / "more" / "x").rmdir()
    (tmp_path / "more").rmdir()
    with pytest.raises(DataError, match="aardvark is in only one of"):
        data.load(spec(folder=str(tmp_path)), seed=0)


def test_an_archive_of_two_parts(tmp_path: Path) -> None:
    file = tmp_path / "two.npz"
    write_npz(file)
    held = data.load(spec(npz=str(file)), seed=0)
    learned = data.training_images(spec(npz=str(file)))
    assert (len(held), len(learned)) == (20, 40)
    back = (learned.images[:] * 255).round().to(torch.uint8)[learned.indices.argsort()]
    assert (back[:, 0].numpy() == pixels(1, 40, 8, 8, 1)[..., 0]).all()


def test_both_parts_of_an_archive_count_the_same_classes(tmp_path: Path) -> None:
    file = tmp_path / "two.npz"
    write_npz(file, y_test=np.arange(20) % 3)
    assert len(data.load(spec(npz=str(file)), seed=0).class_names) == 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_train": np.arange(39)}, "x_train holds 40 images but y_train"),
        ({"x_train": pixels(1, 40, 8, 8)}, "x_train has the shape"),
        ({"y_train": np.arange(40) - 1}, "y_train must hold integers from 0 up"),
    ],
)
def test_bad_training_arrays_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_npz(tmp_path / "bad.npz", **change)
    with pytest.raises(DataError, match=message):
        data.training_images(spec(npz=str(tmp_path / "bad.npz")))


def test_the_first_images_of_a_sorted_folder_are_of_all_classes(tmp_path: Path) -> None:
    """Steps calibrate on the first images, so these must not be one class."""
    write_folder(tmp_path, {"train": 5, "test": 1})
    found = data.training_images(spec(folder=str(tmp_path)))
    assert sorted(found.labels[:10].tolist()) == list(range(10))


def test_holding_out_keeps_bytes_and_loses_nothing(tmp_path: Path) -> None:
    write_npz(tmp_path / "two.npz", train=100)
    found = data.training_images(spec(npz=str(tmp_path / "two.npz")))
    rest, held = hold_out(found)
    assert isinstance(rest.images, data.ByteImages)
    both = [image.numpy().tobytes() for part in (rest, held) for image in part.images[:]]
    assert sorted(both) == sorted(image.numpy().tobytes() for image in found.images[:])


# -- what a study learns from ------------------------------------------------------------------


def test_the_training_part_of_the_study_comes_first(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train": 3, "test": 2})
    found = data.training_for(spec(folder=str(tmp_path)), CARD)
    assert found is not None
    assert (found.id, len(found)) == ("folder", 30)


@pytest.mark.parametrize("change", [{"classes": 9}, {"side": 9}])
def test_what_does_not_fit_the_model_gives_way_to_its_own_dataset(
    change: dict[str, int], tmp_path: Path
) -> None:
    write_folder(tmp_path, {"train": 3, "test": 2}, **change)
    found = data.training_for(spec(folder=str(tmp_path)), CARD)
    assert found is not None
    assert (found.id, len(found)) == ("digits", 1297)


def test_without_a_training_part_the_dataset_of_the_model_serves(tmp_path: Path) -> None:
    write_folder(tmp_path, {"x": 2})
    found = data.training_for(spec(folder=str(tmp_path / "x"), train_limit=100), CARD)
    assert found is not None
    assert (found.id, len(found)) == ("digits", 100)


@pytest.mark.parametrize("dataset", ["folder", "npz", "somebody's own"])
def test_where_there_are_none_at_all_there_are_none(dataset: str, tmp_path: Path) -> None:
    write_folder(tmp_path, {"x": 2})
    card = CARD.model_copy(update={"dataset": dataset})
    assert data.training_for(spec(folder=str(tmp_path / "x")), card) is None


def test_a_dataset_of_the_model_that_is_missing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CRUMPLE_DATASETS", str(tmp_path / "usual"))
    write_folder(tmp_path, {"x": 2})
    card = CARD.model_copy(update={"dataset": "cifar10"})
    with pytest.raises(DataError, match="'cifar10' is not complete"):
        data.training_for(spec(folder=str(tmp_path / "x")), card)


def test_only_steps_that_look_at_images_ask_for_them() -> None:
    def asks(*tables: dict[str, Any]) -> bool:
        return learns(tuple(make_step(table) for table in tables))

    prune = {"name": "magnitude", "sparsity": 0.5}
    assert not asks()
    assert not asks(prune, {"name": "ptq", "bits": 4})
    assert asks(prune, {"name": "finetune"})
    assert asks({"name": "ptq", "bits": 4, "activation_bits": 8})


FINETUNE = [{"steps": [{"name": "magnitude", "sparsity": 0.5}, {"name": "finetune", "epochs": 1}]}]


def study(dataset: dict[str, Any], compression: list[dict[str, Any]]) -> Study:
    return Study.from_dict(
        {
            "name": "learn",
            "keep_images": 2,
            "dataset": {**dataset, "limit": 10},
            "model": [{"name": "digits-resnet"}],
            "compression": compression,
            "attack": [{"name": "fgsm", "eps": 0.1}],
        }
    )


def _finish(store: Writer, wanted: Study) -> tuple[list[str], list[Event]]:
    """The keys of the variants and all events; every run must finish."""
    events: list[Event] = []
    runner = Runner(store, events.append, Options(device="cpu"))
    queued = runner.enqueue(wanted)
    for run_id in queued.run_ids:
        if store.run(run_id)["status"] == "waiting":
            runner.execute(run_id, lambda: False)
    rows = [store.run(run_id) for run_id in queued.run_ids]
    assert [row["status"] for row in rows] == ["finished"] * len(rows), [
        row["message"] for row in rows
    ]
    return [row["variant_key"] for row in rows], events


def test_a_variant_that_learned_from_other_images_is_another(tmp_path: Path) -> None:
    write_npz(tmp_path / "one.npz")
    write_npz(tmp_path / "two.npz", x_train=pixels(9, 40, 8, 8, 1))
    with Writer(tmp_path / "results.db") as store:
        one, _ = _finish(store, study({"npz": str(tmp_path / "one.npz")}, FINETUNE))
        two, _ = _finish(store, study({"npz": str(tmp_path / "two.npz")}, FINETUNE))
        again, events = _finish(store, study({"npz": str(tmp_path / "two.npz")}, FINETUNE))
    assert one[0] == two[0]  # the base model learned nothing
    assert one[1] != two[1]
    assert again == two
    assert not [event for event in events if isinstance(event, StageStarted)]


def test_training_files_that_changed_are_read_again_for_the_next_study(tmp_path: Path) -> None:
    file = tmp_path / "one.npz"
    write_npz(file)
    with Writer(tmp_path / "results.db") as store:
        runner = Runner(store, lambda _: None, Options(device="cpu"))
        queued = runner.enqueue(study({"npz": str(file)}, FINETUNE))
        before = [store.run(run_id)["variant_key"] for run_id in queued.run_ids]
        write_npz(file, x_train=pixels(9, 40, 8, 8, 1))
        queued = runner.enqueue(study({"npz": str(file)}, FINETUNE))
        after = [store.run(run_id)["variant_key"] for run_id in queued.run_ids]
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_pruning_needs_no_training_images_and_damaged_ones_do_not_stop_it(tmp_path: Path) -> None:
    file = tmp_path / "bad.npz"
    write_npz(file, y_train=np.arange(39) % 10)
    with pytest.raises(DataError, match="y_train"):
        check(study({"npz": str(file)}, FINETUNE))
    with Writer(tmp_path / "results.db") as store:
        _finish(store, study({"npz": str(file)}, [{"name": "magnitude", "sparsity": 0.5}]))


# -- images held on the device -----------------------------------------------------------------


def test_images_are_moved_to_the_device_once_and_keep_their_fingerprint() -> None:
    found = data.load(spec(name="digits", limit=5), seed=0)
    want = data.load(spec(name="digits", limit=5), seed=0).fingerprint
    moved = found.on(torch.device("meta"))
    assert moved.images[:2].device.type == moved.labels.device.type == "meta"
    assert moved.fingerprint == want
    assert found.on(torch.device("cpu")) is found


def test_runs_of_a_study_share_one_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[torch.device] = []

    def on(found: data.ImageSet, device: torch.device) -> data.ImageSet:
        moved.append(device)
        return found

    monkeypatch.setattr(data.ImageSet, "on", on)
    with Writer(tmp_path / "results.db") as store:
        prune = {"name": "magnitude", "sparsity": [0.3, 0.5]}
        keys, _ = _finish(store, study({"name": "digits"}, [prune]))
    assert len(keys) == 3
    assert moved == [torch.device("cpu")]


def test_images_that_the_device_cannot_hold_stay_where_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = data.load(spec(name="digits", limit=5), seed=0)

    def full(*_: object) -> torch.Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.Tensor, "to", full)
    assert found.on(torch.device("meta")) is found


# -- real pictures -----------------------------------------------------------------------------

REAL = os.environ.get("CRUMPLE_CIFAR10_NPZ", "")
"""An archive with x_train, y_train, x_test, y_test of real CIFAR-10 pictures."""


@pytest.mark.skipif(not REAL, reason="CRUMPLE_CIFAR10_NPZ names no archive")
def test_real_pictures_are_the_same_from_an_archive_and_from_a_folder(tmp_path: Path) -> None:
    archive = spec(npz=REAL, limit=200, train_limit=300)
    held, learned = data.load(archive, seed=0), data.training_images(archive)
    assert np.bincount(held.labels).tolist() == [20] * 10
    assert np.bincount(learned.labels).tolist() == [30] * 10
    for part, found in (("test", held), ("train", learned)):
        images = (found.images[:] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        pairs = zip(images, found.labels.tolist(), strict=True)
        for place, (image, label) in enumerate(pairs):
            folder = tmp_path / part / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{place:03}.png")
    again = data.load(spec(folder=str(tmp_path)), seed=0)
    for one, two in ((held, again), (learned, data.training_images(spec(folder=str(tmp_path))))):
        kinds = [
            sorted(
                (label, image.numpy().tobytes())
                for image, label in zip(found.images[:], found.labels.tolist(), strict=True)
            )
            for found in (one, two)
        ]
        assert kinds[0] == kinds[1]
