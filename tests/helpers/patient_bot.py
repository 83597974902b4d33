"""pytest-qt's robot with the patience of ``tests.helpers.patience`` in place of five seconds."""

from __future__ import annotations

from functools import partialmethod

from pytestqt.qtbot import QtBot

from tests.helpers.patience import HANG


class PatientBot(QtBot):
    """Waits for signals, windows and conditions as long as for everything else."""

    waitUntil = partialmethod(QtBot.waitUntil, timeout=HANG * 1000)
    waitSignal = partialmethod(QtBot.waitSignal, timeout=HANG * 1000)
    waitSignals = partialmethod(QtBot.waitSignals, timeout=HANG * 1000)
    waitActive = partialmethod(QtBot.waitActive, timeout=HANG * 1000)
    waitExposed = partialmethod(QtBot.waitExposed, timeout=HANG * 1000)
