"""New offers methods of one's own as they come and go, and keeps what is ticked."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine import extensions
from engine.host import paths
from gui.pages.new.page import NewPage
from tests.helpers.own_methods import ATTACK, HEAD, without_processes, write
from tests.helpers.page_kit import PageHarness

DATA = f"{HEAD}\nMETHODS = [DatasetMethod(entry('squares', params=Params), make)]"


@pytest.fixture
def page(harness: PageHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NewPage:
    without_processes(monkeypatch, tmp_path)
    extensions.activate(ask=False)
    page = harness.page("new")
    assert isinstance(page, NewPage)
    page.load(paths.example_study())
    return page


def test_a_file_that_is_trusted_meanwhile_is_offered_and_the_draft_stays(
    page: NewPage, tmp_path: Path
) -> None:
    draft = page.draft()
    extensions.add(write(tmp_path), lambda _: True)
    extensions.add(write(tmp_path, DATA, "data.py"), lambda _: True)
    assert extensions.activate(ask=False)
    page.refresh()
    assert page.draft() == draft
    block = page.attacks.block("mine")
    block.put({"name": "mine", "eps": 0.25})
    block.changed.emit()
    assert page.study is not None
    assert page.study.attack_specs()[-1].label.startswith("mine 0.25 [own.py ")
    titles = [page.data.dataset.itemText(row) for row in range(page.data.dataset.count())]
    assert titles[-1] == "Mine (data.py)"


def test_a_method_that_is_gone_leaves_the_draft_and_the_rest_stays(
    page: NewPage, tmp_path: Path
) -> None:
    draft = page.draft()
    extensions.add(write(tmp_path, ATTACK), lambda _: True)
    page.refresh()
    page.attacks.block("mine").put({"name": "mine"})
    page.attacks.changed.emit()
    assert page.draft() != draft
    extensions.remove("mine")
    page.refresh()
    assert page.draft() == draft
    assert page.study is not None
