"""What waits for windows here waits as long as everything else."""

from __future__ import annotations

import pytest
from PySide6.QtWidgets import QApplication

from tests.helpers.patient_bot import PatientBot


@pytest.fixture
def qtbot(qapp: QApplication, request: pytest.FixtureRequest) -> PatientBot:
    """pytest-qt's robot with patience."""
    return PatientBot(request)
