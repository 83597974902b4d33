"""Where the pictures lie: the path, what is missing, and the download."""

from __future__ import annotations

import hashlib
import re
import sys
import time
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from engine import catalog
from engine.specs.study import Study
from gui.base import file_dialogs
from gui.base.page_context import PageContext
from gui.bridge.download_process import DownloadProcess, download_arguments
from gui.pages.new.page import NewPage
from gui.widgets.data_location import DataLocation
from tests.helpers.file_server import file_server
from tests.helpers.import_kit import error_line
from tests.helpers.published import write_mnist, write_svhn

STUDY = """
name = "Own keys"
[dataset]
name = "imagenet"
root = "/pictures"
limit = 50
train_limit = 70
resize = 232
crop = 224
[[model]]
name = "digits-resnet"
[[attack]]
name = "fgsm"
"""


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The usual folder of datasets, empty."""
    root = tmp_path / "usual"
    monkeypatch.setenv("CRUMPLE_DATASETS", str(root))
    return root


@pytest.fixture
def page(qtbot: QtBot, context: PageContext, usual: Path) -> NewPage:
    page = NewPage(context)
    qtbot.addWidget(page)
    page.show()
    page.data.models["digits-resnet"].click()
    return page


@pytest.fixture
def location(page: NewPage) -> DataLocation:
    choose(page, "svhn")
    return page.data.location


def choose(page: NewPage, name: str) -> None:
    row = list(catalog.section("datasets")).index(name)
    page.data.dataset.setCurrentIndex(row)
    page.data.dataset.activated.emit(row)


def test_only_datasets_that_lie_somewhere_ask_for_a_place(page: NewPage) -> None:
    shown = {}
    for name in catalog.section("datasets"):
        choose(page, name)
        shown[name] = (page.data.location.isVisible(), page.data.location.button.isVisible())
    assert shown == {
        "digits": (False, False),
        **{name: (True, True) for name in ("cifar10", "cifar100", "svhn", "mnist")},
        **{name: (True, False) for name in ("imagenet", "folder", "npz")},
    }


def test_missing_files_are_said_with_the_next_step(location: DataLocation, usual: Path) -> None:
    assert location.note.text().startswith("Not there yet: choose the folder")
    assert str(usual) in location.note.text()
    assert location.path.placeholderText() == str(usual)
    usual.mkdir()
    write_svhn(usual)
    (usual / "train_32x32.mat").unlink()
    location.refresh()
    assert location.note.text().startswith("1 of 2 files missing")
    assert location.button.isVisible()


def test_a_folder_that_holds_the_dataset_is_enough(
    page: NewPage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(page, "mnist")
    folder = tmp_path / "own"
    write_mnist(folder)
    monkeypatch.setattr(file_dialogs, "ask_folder", lambda *_: folder)
    page.data.location.choose.click()
    assert page.data.location.note.text() == f"All files are in {folder}."
    assert not page.data.location.button.isVisible()
    assert page.data.tables()["dataset"] == {"name": "mnist", "root": str(folder)}
    choose(page, "cifar10")
    assert page.data.tables()["dataset"] == {"name": "cifar10"}


def test_imagenet_says_where_it_comes_from(page: NewPage, usual: Path) -> None:
    choose(page, "imagenet")
    assert "image-net.org" in page.data.location.note.text()
    (usual / "imagenet").mkdir(parents=True)
    page.data.location.refresh()
    assert page.data.location.note.text() == ""


def test_a_study_file_comes_back_unchanged(page: NewPage, tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(STUDY, "utf-8")
    page.load(file)
    assert page.study == Study.from_toml(file)
    choose(page, "cifar10")
    assert page.study is not None
    assert page.study.dataset.crop is None


def run(location: DataLocation, script: str, *arguments: str) -> DownloadProcess:
    """Download with a program of ours instead of the command line."""
    location.start(["-c", script, *arguments])
    assert location._download is not None
    return location._download


def test_progress_is_shown_and_stopping_is_no_error(location: DataLocation, qtbot: QtBot) -> None:
    script = (
        "import time; print('a library says hello');"
        'print(\'{"file": "a.mat", "done": 30000000, "total": 90000000}\', flush=True);'
        "time.sleep(60)"
    )
    process = run(location, script)
    with qtbot.waitSignal(process.progress) as told:
        pass
    assert told.args == ["a.mat", 30_000_000, 90_000_000]
    assert location.bar.isVisible()
    assert location.bar.format() == "30 of 90 MB"
    assert 0.33 < location.bar.value() / location.bar.maximum() < 0.34
    assert location.button.text() == "Stop"
    assert location.note.text().startswith("Downloading svhn. Stopped, it goes on from there")
    location.show_kind("mnist")  # another is looked at meanwhile
    location._pace.note(0, time.monotonic() - 3)
    location._show_progress("a.mat", 30_000_000, 90_000_000)
    assert re.match(r"Downloading svhn, \d+\.?\d* MB/s, 0:\d\d left\. ", location.note.text())
    location.show_kind("svhn")
    with qtbot.waitSignals([location.changed, process.destroyed]):
        location.button.click()
    assert not location.bar.isVisible()
    assert location.button.text() == "Download"
    assert location.note.text().startswith("Not there yet")


def test_a_failed_download_says_why(location: DataLocation, qtbot: QtBot) -> None:
    process = run(
        location, f"import sys; print({error_line('no room left.')!r}, file=sys.stderr)\nexit(2)"
    )
    with qtbot.waitSignals([location.changed, process.destroyed]):
        pass
    assert location.note.text() == "no room left."
    assert location.note.property("role") == "error"
    assert location.button.isVisible()


def test_a_program_that_is_not_there_says_so(
    location: DataLocation, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    process = run(location, "")
    if process is not None:
        qtbot.waitUntil(lambda: location._download is None)
    assert "could not be started" in location.note.text()


def test_the_command_line_fetches_what_the_page_then_finds(
    location: DataLocation, usual: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    """The real command in its own process; only the addresses are of this machine."""
    write_svhn(tmp_path)
    script = (
        "import json, sys, torchvision\n"
        "torchvision.datasets.SVHN.split_list = json.loads(sys.argv.pop(1))\n"
        "from engine.cli.main import main\n"
        "main()"
    )
    with file_server() as server:
        splits = {}
        for part in ("train", "test"):
            name = f"{part}_32x32.mat"
            server.files[f"/{name}"] = content = (tmp_path / name).read_bytes()
            splits[part] = [f"{server.url}/{name}", name, hashlib.md5(content).hexdigest()]
        command = download_arguments("svhn", usual)
        assert command[:3] == ["-P", "-m", "engine"]
        text = str(splits).replace("'", '"')
        process = run(location, script, text, *command[3:])
        with qtbot.waitSignals([location.changed, process.destroyed]):
            pass
    assert location.note.text() == f"All files are in {usual}."
    assert not location.button.isVisible()
