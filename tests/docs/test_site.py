"""The pages build without a warning, and a browser that shows them asks no other machine."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from engine.host import paths
from tests.helpers.pages import DOCS, PAGES, ROOT

pytest.importorskip("sphinx")

LOADED = {"src", "srcset", "poster", "data"}
"""Attributes whose address a browser loads at once, on whatever element."""


class Loads(HTMLParser):
    """Collects what a page loads by itself; links that wait for a click are none of it."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in LOADED or (tag in ("link", "base", "use", "image") and "href" in name):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.add(value or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built as ``make docs`` does."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going"),
            *("-d", str(folder / "trees"), str(DOCS), str(folder / "html")),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


def test_an_option_keeps_its_hyphens(site: Path) -> None:
    """A dash in their place would be copied into a terminal."""
    page = (site / "command-line.html").read_text("utf-8")
    assert "without --trust-code" in page
    assert not re.search(r"[\u2013\u2014][a-z]", page)


def test_every_page_is_built(site: Path) -> None:
    assert {page.stem for page in site.glob("*.html")} == PAGES.keys() | {"search"}


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    foreign = []
    for page in site.glob("*.html"):
        loads = Loads()
        loads.feed(page.read_text("utf-8"))
        assert loads.addresses, page
        foreign += [one for one in loads.addresses if re.match(r"(https?:)?//", one)]
        missing = [
            one
            for one in loads.addresses
            if not re.match(r"#|data:|(https?:)?//", one)
            and not (page.parent / re.split(r"[?#]", one)[0]).exists()
        ]
        assert not missing, f"{page.name} loads {missing}"
    assert not foreign


def test_styles_load_nothing_from_elsewhere(site: Path) -> None:
    sheets = list(site.rglob("*.css"))
    assert sheets
    for sheet in sheets:
        text = sheet.read_text("utf-8")
        loaded = re.findall(r"url\(\s*[\"']?([^)\"']+)|@import\s+[\"']([^\"']+)", text)
        assert not [one for pair in loaded for one in pair if re.match(r"(https?:)?//", one)]


def test_the_wheel_takes_the_pages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "docs" in wheel["packages"]
    assert wheel["sources"]["docs"] == "engine/_resources/docs"
    assert paths.documentation().samefile(DOCS)


def test_the_check_sees_what_it_forbids() -> None:
    loads = Loads()
    loads.feed('<link rel="stylesheet" href="https://a/b.css"><script src="//c/d.js"></script>')
    assert loads.addresses == ["https://a/b.css", "//c/d.js"]
