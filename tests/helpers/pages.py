"""The pages that tests of the documentation read."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
PAGES = {page.stem: page.read_text("utf-8") for page in sorted(DOCS.glob("*.md"))}
PROSE = {
    **{name: (ROOT / name).read_text("utf-8") for name in ("README.md", "CONTRIBUTING.md")},
    **{f"docs/{name}.md": text for name, text in PAGES.items()},
}
"""By path from the root; CHANGELOG tells of what was, too, and stands apart."""

_FENCE = re.compile(
    r"^(?:<!-- example: (?P<note>[^\n]+) -->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```",
    re.DOTALL | re.MULTILINE,
)


def without_code(text: str) -> str:
    """A page without its blocks of code."""
    return _FENCE.sub("", text)


def blocks(language: str) -> list[tuple[str, str, str]]:
    """Page, code and note of each block in a language; the note stands above in a comment."""
    return [
        (path, match["code"], match["note"] or "")
        for path, text in PROSE.items()
        for match in _FENCE.finditer(text)
        if match["language"] == language
    ]


def section(text: str, heading: str) -> str:
    """The text under a heading, up to the next heading of that level or above."""
    level = len(heading.split(" ")[0])
    start = f"\n{text}".index(f"\n{heading}\n")
    after = re.search(rf"\n#{{1,{level}}} ", text[start + len(heading) :])
    return text[start : start + len(heading) + after.start()] if after else text[start:]


def headings(text: str) -> list[str]:
    """The words of all headings."""
    return re.findall(r"^#{1,6} (.+)$", without_code(text), re.MULTILINE)
