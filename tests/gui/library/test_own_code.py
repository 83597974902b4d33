"""A network's own Python file in the import dialog: found without running it, run with consent."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLineEdit
from pytestqt.qtbot import QtBot

from engine import extensions
from engine.safe_files.way_out import by_source
from gui.base import file_dialogs
from gui.base.page_context import PageContext
from gui.bridge import import_process
from gui.library import import_dialog
from gui.library.import_dialog import ImportDialog
from gui.shell.main_window import MainWindow
from tests.helpers.file_drops import dropped
from tests.helpers.import_dialog import complaint, finish
from tests.helpers.import_kit import refuse
from tests.helpers.screen_reader import nameless

CODE = """
import torch.nn as nn
open({trace!r}, "w").close()

class Block(nn.Module):
    def __init__(self, width): ...

class Net(nn.Module):
    def __init__(self, depth, width=16, *, bias=True):
        self.parts = [Block(width) for _ in range(depth)]

class Settings: ...

def resnet20(): ...
def make(): ...
"""


@pytest.fixture(autouse=True)
def own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRUMPLE_METHODS", str(tmp_path / "methods"))


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(CODE.format(trace=str(tmp_path / "trace")))
    return path


@pytest.fixture
def dialog(dialog: ImportDialog) -> ImportDialog:
    """With images chosen."""
    dialog.form.put_images({"name": "digits"})
    return dialog


def test_classes_are_found_without_running_the_file(dialog: ImportDialog, code: Path) -> None:
    form = dialog.form
    form.put_file("/models/w.pth")
    assert not form.code.name.isVisible()
    form.code.put(str(code))
    names = [form.code.name.itemText(row) for row in range(form.code.name.count())]
    assert names == ["Block", "Net", "resnet20", "make"]
    assert form.code.name.currentText() == "Net", "the only class that no other one is made of"
    assert form.code.arguments.placeholderText() == "depth, width=16, *, bias=True"
    form.code.name.setCurrentText("resnet20")
    assert form.code.arguments.placeholderText() == "none needed"
    assert not (code.parent / "trace").exists()


def test_what_is_missing_is_said_at_its_field_and_becomes_options(
    dialog: ImportDialog, code: Path
) -> None:
    form = dialog.form
    form.put_file("/models/w.pth")
    form.code.put(str(code))
    assert "Net needs depth" in complaint(dialog)
    assert form.code.arguments.hasFocus()
    form.code.arguments.setText("depth=f()")
    assert "f() is not a value" in complaint(dialog)
    form.code.arguments.setText("depth=3, width=8")
    assert "runs code" in complaint(dialog)
    assert form.code.trust.hasFocus()
    assert str(code) in form.code.note.text().replace("\u200b", "")
    form.code.trust.click()
    assert form.objection() is None
    assert form.options()[:6] == [
        *("/models/w.pth", "--class", f"{code}:Net"),
        *("--args", "depth=3, width=8", "--trust-code"),
    ]
    form.code.name.setCurrentText("")
    assert "Choose the class" in complaint(dialog)
    assert form.code.name.hasFocus()


def test_a_python_file_alone_makes_its_network(dialog: ImportDialog, code: Path) -> None:
    form = dialog.form
    form.put_file(str(code))
    assert not form.code.path.isVisible()
    assert form.code.name.currentText() == "make"
    form.code.trust.click()
    assert form.options()[:2] == [f"{code}:make", "--trust-code"]
    form.put_file("/models/w.pth")
    assert "--trust-code" not in form.options()


def test_trust_is_asked_once_and_again_when_the_file_changes(
    dialog: ImportDialog, code: Path
) -> None:
    form = dialog.form
    form.put_file("/models/w.pth")
    form.code.put(str(code))
    form.code.name.setCurrentText("resnet20")
    extensions.trust_network(code, code.read_bytes())
    form.code.look()
    assert not form.code.trust.isVisible()
    assert "has not changed" in form.code.note.text()
    assert form.objection() is None
    assert "--trust-code" not in form.options(), "the engine looks the very file up"
    code.write_text(code.read_text() + "\nclass Another(nn.Module): ...\n")
    assert "runs code" in complaint(dialog)
    assert form.code.trust.isVisible()
    assert form.code.name.currentText() == "resnet20", "what was chosen stays"
    assert form.code.name.findText("Another") >= 0
    form.code.trust.click()
    code.write_text(code.read_text() + "\n# more\n")
    assert "runs code" in complaint(dialog), "consent was for another content"


@pytest.mark.parametrize(
    ("content", "said"), [("def make(:\n", "is not Python in line 1"), (None, "cannot be read")]
)
def test_a_file_that_cannot_be_read_is_told_at_once(
    dialog: ImportDialog, tmp_path: Path, content: str | None, said: str
) -> None:
    path = tmp_path / "odd.py"
    if content:
        path.write_text(content)
    dialog.form.put_file("/models/w.pth")
    dialog.form.code.put(str(path))
    assert said in dialog.form.code.note.text()
    assert said in complaint(dialog)
    assert dialog.form.code.path.hasFocus()
    dialog.form.code.clear()
    assert not dialog.form.code.note.isVisible()
    assert dialog.form.objection() is None


TABLE = (
    ("in the network", "shape", "in the file", "shape", "what"),
    ("fc.weight", "10x64", "head.weight", "10x64", "another name?"),
)


def test_what_does_not_fit_is_a_table_until_something_else_is_asked(
    qtbot: QtBot, dialog: ImportDialog, code: Path
) -> None:
    dialog.form.put_file("/models/w.pth")
    dialog.form.code.put(str(code))
    finish(qtbot, dialog, refuse("They do not fit.", "Give by --args what.", "args", TABLE))
    assert dialog.form.code.arguments.hasFocus()
    assert dialog.message._text.text() == "They do not fit. Give by Arguments what."
    assert not dialog.message._action.isVisible(), "there is a class already"
    table = dialog.misfits
    assert table is not None
    assert [table.item(0, column).text() for column in range(5)] == list(TABLE[1])
    assert nameless(dialog) == []
    qtbot.keyClicks(dialog.form.code.arguments, "1")
    assert dialog.misfits is None
    assert dialog.message.message is None


@pytest.fixture
def unknown(qtbot: QtBot, dialog: ImportDialog) -> ImportDialog:
    """A dialog whose file was not recognised."""
    dialog.form.put_file("/models/w.pth")
    finish(qtbot, dialog, refuse("It is of no known architecture.", by_source("w.pth"), "class"))
    assert dialog.form.code.path.hasFocus()
    return dialog


@pytest.mark.parametrize("button", ["beside the field", "of the refusal"])
def test_a_file_is_written_on_request_and_chosen(
    button: str,
    qtbot: QtBot,
    unknown: ImportDialog,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, shown = tmp_path / "mine", list[Path]()
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: out)
    monkeypatch.setattr(file_dialogs, "show_folder", shown.append)
    script = "import sys; open(sys.argv[1], 'w').write('class Net(Module): ...')"
    asked: list[tuple[object, ...]] = []

    def arguments(*args: object) -> list[str]:
        asked.append(args)
        return ["-c", script, str(args[1])]

    monkeypatch.setattr(import_dialog, "class_arguments", arguments)
    assert unknown.form.code.write.isVisible()
    (unknown.form.code.write if button == "beside the field" else unknown.message._action).click()
    process = unknown._process
    assert process is not None
    with qtbot.waitSignal(process.destroyed):
        pass
    assert asked == [("/models/w.pth", tmp_path / "mine.py", "")]
    assert shown == [tmp_path]
    assert unknown.message._action.text() == "Choose this file"
    unknown.message._action.click()
    assert unknown.form.code.file == str(tmp_path / "mine.py")
    assert unknown.form.code.name.currentText() == "Net"
    assert unknown.form.code.name.hasFocus()
    assert unknown.form.file.text() == "/models/w.pth"
    assert not unknown.form.code.write.isVisible()


def test_who_names_no_place_for_it_reads_the_sentence_again(
    unknown: ImportDialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = unknown.message.message
    monkeypatch.setattr(file_dialogs, "ask_save", lambda *_: None)
    unknown.message._action.click()
    assert unknown.message.message is not None
    assert said is not None
    assert unknown.message.message.text == said.text
    assert unknown.message._action.isVisible()


def test_the_command_that_writes_it() -> None:
    found = import_process.class_arguments("w.pth", Path("net.py"), "ema")
    assert found[-5:] == ["w.pth", "--part", "ema", "--write-class", "net.py"]


def files(dialog: ImportDialog) -> tuple[str, str]:
    return dialog.form.file.text(), dialog.form.code.file


def test_weights_and_code_are_dropped_together_or_one_after_the_other(
    dialog: ImportDialog, code: Path
) -> None:
    both = ("/models/w.pth", str(code))
    assert dropped(dialog, code, "/models/w.pth")
    assert files(dialog) == both
    for first, second in (both, reversed(both)):
        dialog._begin_again()
        dropped(dialog, first)
        dropped(dialog, second)
        assert files(dialog) == both
    dropped(dialog, "/models/other.pt2")
    assert files(dialog) == ("/models/other.pt2", ""), "another import"
    assert not dropped(dialog, "/a.pth", "/b.pth")
    assert not dropped(dialog, "/a.py", "/b.py")


def test_both_are_dropped_on_the_window(qtbot: QtBot, context: PageContext, code: Path) -> None:
    window = MainWindow(context, "new")
    qtbot.addWidget(window)
    assert not dropped(window, code, "/pictures/cat.png")
    assert dropped(window, code, "/models/w.pth")
    dialog = window.models.dialog
    assert dialog is not None
    assert files(dialog) == ("/models/w.pth", str(code))
    dialog.close()


def test_the_tab_key_goes_through_the_fields_in_their_order(
    qtbot: QtBot, dialog: ImportDialog, code: Path
) -> None:
    form = dialog.form
    form.put_file("/models/w.pth")
    form.code.put(str(code))
    form.file.setFocus()
    seen = []
    for _ in range(8):
        focus = QApplication.focusWidget()
        assert focus is not None
        inner = focus.parentWidget() if isinstance(focus, QLineEdit) else focus
        seen.append(inner if inner is form.code.name else focus)
        qtbot.keyClick(focus, Qt.Key.Key_Tab)
    wanted = [form.file, form.choose, form.code.path, form.code.choose, form.code.name]
    wanted += [form.code.arguments, form.code.trust, form.dataset]
    assert seen == wanted


def test_pictures_of_different_sizes_are_asked_for_their_size(
    dialog: ImportDialog, tmp_path: Path
) -> None:
    from PIL import Image

    for name, side in (("a", 20), ("b", 30)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        Image.new("RGB", (side, side)).save(tmp_path / "pictures" / name / "1.png")
    form = dialog.form
    form.put_file("/models/w.pth")
    form.put_images({"folder": str(tmp_path / "pictures")})
    assert "differ in size" in form.cut.note.text()
    assert "resize and crop" in complaint(dialog)
    assert form.cut.boxes["resize"].hasFocus()
    form.cut.boxes["resize"].setValue(16)
    assert form.objection() is None
    assert form.images() == {"folder": str(tmp_path / "pictures"), "resize": 16}
