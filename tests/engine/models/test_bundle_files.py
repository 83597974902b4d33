"""A model is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import catalog, models
from engine.catalog import ModelCard
from engine.models.files import bundle, tensors
from tests.helpers.checkpoints import ask, pictures

ID = "digits-cnn"


def put(folder: Path, card: ModelCard, seed: int) -> None:
    net = models.build("digits-cnn", (1, 8, 8), 10, seed).eval()
    fields = card.model_dump(exclude={"parameters", "fingerprint"})
    bundle.save(net, {**fields, "id": ID, "architecture": "digits-cnn", "origin": "trained",
                      "normalisation": None}, folder)  # fmt: skip


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


@pytest.mark.parametrize("moment", ["card", "weights", "moving the card", "moving the weights"])
@pytest.mark.parametrize("there", [True, False])
def test_a_full_disk_leaves_the_old_model_or_none(
    moment: str, there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = catalog.model_card("digits-resnet")
    folder = tmp_path / "library"
    if there:
        put(folder, card, 1)
    before = files(folder)
    kind = ".json" if "card" in moment else ".safetensors"
    write, replace = Path.write_bytes, tensors.os.replace

    def refuse_write(path: Path, content: bytes) -> int:
        if kind in path.name and not moment.startswith("moving"):
            raise OSError(28, "No space left on device")
        return write(path, content)

    def refuse_move(source: Path, target: Path) -> None:
        if (
            moment.startswith("moving")
            and target.name == f"{ID}{kind}"
            and "old" not in str(source)
        ):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(Path, "write_bytes", refuse_write)
    monkeypatch.setattr(tensors.os, "replace", refuse_move)
    with pytest.raises(OSError, match="No space left"):
        put(folder, card, 2)
    monkeypatch.undo()
    assert files(folder) == before
    put(folder, card, 2)
    assert set(files(folder)) == {f"{ID}.json", f"{ID}.safetensors"}
    loaded = models.load(bundle_card(folder), folder)
    images = pictures(4, side=8, channels=1)
    expected = models.build("digits-cnn", (1, 8, 8), 10, 2).eval()
    assert ask(loaded, images).equal(ask(expected, images))


def bundle_card(folder: Path) -> ModelCard:
    return ModelCard.model_validate_json((folder / f"{ID}.json").read_text("utf-8"))
