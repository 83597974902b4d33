"""The README, part by part."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


README = (ROOT / "README.md").read_text("utf-8")


def section(heading: str) -> str:
    """The text under a heading of the README, up to the next heading of that level or above."""
    level = heading.split(" ")[0]
    start = README.index(f"\n{heading}")
    after = re.search(rf"\n#{{1,{len(level)}}} ", README[start + len(heading) + 1 :])
    return README[start : start + len(heading) + 1 + after.start()] if after else README[start:]
