"""A card speaks for the files beside it and for no others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine import catalog
from engine.errors import ModelError
from engine.host import paths
from engine.models import build
from engine.models.files.bundle import check, load, save
from engine.pipeline import runner
from engine.store import Writer
from engine.store.stage_keys import variant_key
from tests.helpers.studies import small_study

FIELDS = {"title": "", "summary": "", "architecture": "digits-cnn", "dataset": "digits",
          "shape": (1, 8, 8), "classes": 10, "clean_accuracy": 0.1, "test_images": 8, "recipe": {},
          "origin": "imported"}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A library with two models that nobody trained."""
    place = tmp_path / "models"
    for seed, name in enumerate(("first", "second")):
        save(build("digits-cnn", (1, 8, 8), 10, seed).eval(), {"id": name, **FIELDS}, place)
    catalog.use_library(place)
    return place


def forge(folder: Path, **changes: object) -> None:
    """Change the card of the second model."""
    path = folder / "second.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps({**card, **changes}))


def study(*names: str, **changes: object) -> object:
    tables = {"compression": [], "attack": [{"name": "fgsm"}], **changes}
    return small_study(model=[{"name": name} for name in names], **tables)


def run(store: Writer, what: object) -> None:
    runner.run(what, store, lambda _: None)  # type: ignore[arg-type]


def test_a_copied_fingerprint_does_not_give_the_results_of_the_other_model(
    folder: Path, tmp_path: Path
) -> None:
    with Writer(tmp_path / "a.db") as store:
        run(store, study("first"))
        forge(folder, fingerprint=catalog.model_card("first").fingerprint)
        with pytest.raises(ModelError, match="weights of second are not those its card describes"):
            run(store, study("second"))
        assert {row["model"] for row in store.results()} == {"first"}
        forged_teacher = [{"name": "kd", "teacher": "second", "epochs": 1}]
        with pytest.raises(ModelError, match="weights of second"):
            run(store, study("first", compression=forged_teacher))


def test_other_weights_under_a_card_are_noticed_when_they_change(folder: Path) -> None:
    card = catalog.model_card("second")
    check(card)
    shutil.copy(folder / "first.safetensors", folder / "second.safetensors")
    for look in (check, load):
        with pytest.raises(ModelError, match="not those its card describes"):
            look(card)
    (folder / "second.safetensors").unlink()
    with pytest.raises(ModelError, match=r"cannot be read: No such file"):
        check(card)


def test_bundled_cards_are_those_of_their_files() -> None:
    cards = [one for one in catalog.models.cards.cards().values() if one.origin == "bundled"]
    assert len(cards) >= 2
    for card in cards:
        check(card, paths.resources() / "models")


def test_equal_tensors_of_other_packages_may_be_wired_otherwise(folder: Path) -> None:
    from engine.specs.study import Run

    card = catalog.model_card("first")
    one, other = (
        card.model_copy(update={"architecture": f"timm.{name}"})
        for name in ("efficientnet_b0", "tf_efficientnet_b0")
    )
    assert one.fingerprint == other.fingerprint
    (spec, *_) = study("first").runs()  # type: ignore[attr-defined]
    assert isinstance(spec, Run)
    assert variant_key(spec, one.basis) != variant_key(spec, other.basis)
    assert card.basis == card.fingerprint
