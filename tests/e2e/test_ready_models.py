"""From the picker of New to a ticked model: the real command, a server on this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from pytestqt.qtbot import QtBot
from torchvision.models import shufflenet_v2_x0_5

from engine import catalog
from engine.catalog.models.published import find
from engine.models.normalised import Normalised
from gui.base.page_context import PageContext
from gui.pages.new.page import NewPage
from gui.pages.new.weights_download import WeightsDownload
from tests.helpers.checkpoints import labelled, lively, pictures
from tests.helpers.file_server import file_server
from tests.helpers.published_server import MEAN, STD, from_here

pytestmark = pytest.mark.qt_log_ignore("does not support propagateSizeHints")
NAME = "torchvision.shufflenet_v2_x0_5"


def test_a_download_that_breaks_off_goes_on_and_ends_as_a_ticked_model(
    qtbot: QtBot, context: PageContext, tmp_path: Path
) -> None:
    images = pictures(count=64, side=64)
    with torch.random.fork_rng(devices=[]):
        network = lively(shufflenet_v2_x0_5(num_classes=1000), images)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    content = (tmp_path / "weights.pth").read_bytes()
    archive = labelled(Normalised(network, MEAN, STD), images, tmp_path / "x.npz")
    file = f"/shufflenet-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    weights = find(NAME, 1000)
    assert weights is not None
    page = NewPage(context)
    qtbot.addWidget(page)
    page.show()
    with file_server() as server:
        server.files[file], server.cut = content, 2_000_000
        options = [NAME, "--npz", str(archive), "--db", str(context.store.path)]
        download = WeightsDownload(weights, from_here(server.url + file, tmp_path / "t", options))
        came: list[tuple[int, int]] = []
        page.data.model_list.ready.begin(download)
        assert download._process is not None
        download._process.arriving.connect(lambda *bytes_: came.append(bytes_))
        qtbot.waitUntil(lambda: download.stage == "failed")
        assert "ended after 2,000,000 of" in download.note.text()
        assert "goes on where it stopped" in download.note.text()
        assert came[-1][0] <= 2_000_000
        assert came[-1][1] == len(content)
        assert [path.suffix for path in (tmp_path / "t").rglob("*.*")] == [".part"]
        assert page.data.model_list.ticked() == []
        server.cut = None
        with qtbot.waitSignal(page.data.model_list.arrived):
            download.button.click()
        assert [asked for _, asked in server.asked] == ["", "bytes=2000000-"]
    (ticked,) = page.data.model_list.ticked()
    assert catalog.model_card(ticked).architecture == NAME
    assert catalog.model_card(ticked).clean_accuracy == 1.0
    assert not page.data.model_list.ready.downloads
    page.close()
