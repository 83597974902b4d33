"""What all tests of the engine share."""

from __future__ import annotations

import pytest

from engine.attacks.search import confirmation


@pytest.fixture(autouse=True)
def short_check(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check after each attack takes a tenth of its queries where it is not what is tested."""
    if request.node.get_closest_marker("full_check") is None:
        monkeypatch.setattr("engine.diagnostics.black_box.QUERIES", 100)


@pytest.fixture
def no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model sees the queries of the attack alone."""
    monkeypatch.setattr(confirmation, "is_random", lambda forward: False)
    monkeypatch.setattr(
        confirmation.Confirmation, "upholds", lambda self, points, logits, labels: labels == labels
    )
