"""The way that takes any network, for messages about files that are not recognised."""

from __future__ import annotations

import shlex


def by_source(file: str) -> str:
    """How to import a network whose code one has, with the weights of a file.

    Args:
        file: that holds the state dict.
    """
    return (
        f"Any network comes in by its own class in a Python file: crumple import "
        f"{shlex.quote(file)} --class net.py:Net --trust-code (--write-class net.py writes that "
        "file to fill in)."
    )


BY_ORIGIN = (
    "Import the network that it was exported from, as a .pt2 of torch.export or by its weights. "
    + by_source("weights.pth")
)
"""For files that hold what another program made of a network."""
