"""Writes what the program knows of itself into the pages of documentation.

Each page says where: between ``<!-- generated: NAME ARGUMENT -->`` and ``<!-- end -->``. The result
is committed, so that the pages can be read in the repository and in the window as they are.

    python -m docs.tools.reference            writes the pages anew
    python -m docs.tools.reference --check    names the pages that are not up to date; exit code 1
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from docs.tools import commands, methods, names, published, python_face

DOCS = Path(__file__).resolve().parent.parent
_PLACE = re.compile(r"(<!-- generated: (\w+)(?: (\S+))? -->\n).*?(<!-- end -->)", re.DOTALL)

PARTS: dict[str, Callable[..., Iterator[str]]] = {
    "methods": methods.methods,
    "datasets": names.datasets,
    "models": names.models,
    "architectures": names.known_architectures,
    "published": names.published_weights,
    "formulas": names.formulas,
    "study_keys": names.study_keys,
    "command": commands.command,
    "published_sources": published.sources,
    "published_reviews": published.reviewed,
    "python": python_face.page,
}
"""What can stand in a page; some take an argument."""


def filled(text: str) -> str:
    """A page with its generated parts made anew."""

    def fill(match: re.Match[str]) -> str:
        begin, name, argument, end = match.groups()
        lines = PARTS[name](argument) if argument else PARTS[name]()
        return f"{begin}\n{chr(10).join(lines)}\n\n{end}"

    return _PLACE.sub(fill, text)


def outdated() -> dict[Path, str]:
    """The pages that are not up to date, as they should be."""
    pages = {page: page.read_text("utf-8") for page in sorted(DOCS.glob("*.md"))}
    new = {page: filled(text) for page, text in pages.items()}
    return {page: text for page, text in new.items() if text != pages[page]}


def main() -> int:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; 1 if pages are old")
    check = parser.parse_args().check
    old = outdated()
    if check and old:
        named = ", ".join(page.name for page in old)
        sys.stderr.write(f"Not up to date: {named}. Run: make docs\n")
        return 1
    for page, text in old.items():
        page.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
