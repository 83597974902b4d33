"""How Sphinx builds the pages (``make docs``); everything that a page loads lies beside it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from sphinx.application import Sphinx

_ROOT = Path(__file__).resolve().parent.parent

project = "Crumple"
version = release = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["version"]
html_title = f"Crumple {version}"
html_theme = "furo"
html_static_path = ["static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_use_index = False
html_show_copyright = False
html_show_sphinx = False
smartquotes_action = "qe"  # quotes and ellipses; two hyphens begin an option
extensions = ["myst_parser"]
exclude_patterns = ["static", "tools"]
nitpicky = True
myst_heading_anchors = 4
myst_enable_extensions: list[str] = []
suppress_warnings = ["myst.strikethrough"]

_SECTION = re.compile(r"^## (.+)$|^- \[[^\]]+\]\(([\w-]+)\.md\)", re.MULTILINE)


def _contents(app: Sphinx, name: str, source: list[str]) -> None:
    """The tree of pages is the list of links on the first page: it is stated once."""
    if name != "index":
        return
    tree = ""
    for heading, page in _SECTION.findall(source[0]):
        if heading:
            tree += f"```\n\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n"
        else:
            tree += f"{page}\n"
    source[0] += "\n" + tree.removeprefix("```\n\n") + "```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("source-read", _contents)
    return {"parallel_read_safe": True}
