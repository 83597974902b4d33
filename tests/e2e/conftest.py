"""What the tests of windows with real processes share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QSettings
from PySide6.QtWidgets import QApplication

from engine import catalog
from engine.store import Store
from engine.store.artifacts import models_of
from gui.base import theme
from gui.base.page_context import PageContext, make_context
from gui.bridge.engine_client import QtEngineClient
from tests.helpers.fakes import FakeEngineClient
from tests.helpers.patient_bot import PatientBot


@pytest.fixture
def qtbot(qapp: QApplication, request: pytest.FixtureRequest) -> PatientBot:
    """pytest-qt's robot with patience."""
    return PatientBot(request)


@pytest.fixture
def context(tmp_path: Path, qapp: QApplication) -> Iterator[PageContext]:
    """What a page is given, with a library of its own and no engine."""
    settings = QSettings(str(tmp_path / "settings.ini"), QSettings.Format.IniFormat)
    theme.install(qapp, settings, "light")
    store = Store(tmp_path / "context.db")
    catalog.use_library(models_of(store.path))
    context = make_context(store, QtEngineClient(FakeEngineClient()), settings)
    yield context
    context.close()
