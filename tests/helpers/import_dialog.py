"""What tests do with the import dialog."""

from __future__ import annotations

from pytestqt.qtbot import QtBot

from gui.library.import_dialog import ImportDialog


def finish(qtbot: QtBot, dialog: ImportDialog, arguments: list[str]) -> None:
    """Let a process of ours answer, and wait until the dialog has heard it."""
    dialog.run(arguments)
    assert dialog._process is not None
    with qtbot.waitSignal(dialog._process.destroyed):
        pass


def complaint(dialog: ImportDialog) -> str:
    """What is said if the form is sent as it is; nothing is started."""
    dialog.examine.click()
    assert dialog._process is None
    assert dialog.message.message is not None
    return dialog.message.message.text
