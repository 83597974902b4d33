"""What all tests of the engine share."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def short_check(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check after each attack takes a tenth of its queries where it is not what is tested."""
    if request.node.get_closest_marker("full_check") is None:
        monkeypatch.setattr("engine.diagnostics.black_box.QUERIES", 100)
