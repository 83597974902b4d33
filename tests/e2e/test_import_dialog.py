"""Import through the window's own process: a network of one's own, and published weights."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from pytestqt.qtbot import QtBot
from torch import nn

from engine import catalog, models
from engine.importing.source import export
from engine.models.normalised import Normalised
from gui.base.page_context import PageContext
from gui.library.import_dialog import ImportDialog
from tests.helpers.checkpoints import ask, labelled, lively, pictures
from tests.helpers.file_server import file_server
from tests.helpers.published_server import MEAN, STD, from_here

pytestmark = pytest.mark.qt_log_ignore("does not support propagateSizeHints")


def run(qtbot: QtBot, dialog: ImportDialog) -> None:
    process = dialog._process
    assert process is not None
    with qtbot.waitSignal(process.destroyed):
        pass
    assert dialog.report is not None, dialog.message.accessibleName()


def test_a_network_of_ones_own(qtbot: QtBot, context: PageContext, tmp_path: Path) -> None:
    images = pictures(count=200, side=8)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(288, 5)
    )
    lively(network, images)
    file = tmp_path / "my net.pt2"
    file.write_bytes(export(network, (3, 8, 8), "net"))
    dialog = ImportDialog(context)
    qtbot.addWidget(dialog)
    dialog.show()
    dialog.form.put_file(str(file))
    dialog.form.put_images({"npz": str(labelled(network, images, tmp_path / "x.npz"))})
    told: list[str] = []
    imported: list[str] = []
    dialog.imported.connect(imported.append)
    dialog.examine.click()
    assert dialog._process is not None
    dialog._process.told.connect(lambda text, _: told.append(text))
    run(qtbot, dialog)
    assert dialog.view.verdict.text().startswith("Healthy: 100.0% of 200 images")
    assert imported == ["my-net"]
    assert any("Measuring" in text for text in told)
    card = catalog.model_card("my-net")
    assert card.source is not None
    assert card.source.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert torch.equal(ask(models.load(card), images), ask(network, images))
    dialog.close()


def test_published_weights_come_from_their_server(
    qtbot: QtBot, context: PageContext, tmp_path: Path
) -> None:
    """The real download of torchvision; only the address and the cache are of this machine."""
    from torchvision.models import shufflenet_v2_x0_5

    images = pictures(count=128, side=64)
    with torch.random.fork_rng(devices=[]):
        network = lively(shufflenet_v2_x0_5(num_classes=1000), images)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()
    whole = Normalised(network, MEAN, STD)
    archive = labelled(whole, images, tmp_path / "x.npz")
    name = f"shufflenet-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    dialog = ImportDialog(context)
    qtbot.addWidget(dialog)
    dialog.show()
    dialog.open_file("torchvision.shufflenet_v2_x0_5", {"npz": str(archive)})
    options = [*dialog.form.options(), "--db", str(context.store.path)]
    with file_server() as server:
        server.files[f"/{name}"] = content
        dialog.run(from_here(f"{server.url}/{name}", tmp_path / "cache", options))
        told: list[tuple[str, float]] = []
        assert dialog._process is not None
        dialog._process.told.connect(lambda *args: told.append(args))
        run(qtbot, dialog)
        assert [path for path, _ in server.asked] == [f"/{name}"]
    assert ("Downloading the weights ...", 1.0) in told
    card = catalog.model_card(dialog.report.model)  # type: ignore[union-attr]
    assert (card.origin, card.architecture) == ("downloaded", "torchvision.shufflenet_v2_x0_5")
    assert card.normalisation is not None
    assert card.normalisation.mean == pytest.approx(MEAN)
    assert torch.allclose(ask(models.load(card), images), ask(whole, images), atol=1e-5)
    dialog.close()
