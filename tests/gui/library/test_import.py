"""File > Import model: what is asked, what the process says, and how the report reads."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QTableWidget
from pytestqt.qtbot import QtBot

import engine
from engine.importing.report import Guess, LayerDensity, Trial
from engine.safe_files.way_out import BY_ORIGIN, by_source
from gui.base import file_dialogs
from gui.base.page_context import PageContext
from gui.bridge.import_process import ImportProcess, import_arguments
from gui.library.import_dialog import ImportDialog
from gui.library.import_form import ImportForm
from gui.library.import_words import FIELDS, in_window
from gui.library.report_view import ReportView
from gui.library.small_table import SmallTable
from gui.pages.new.page import NewPage
from gui.shell.main_window import MainWindow
from tests.helpers.file_drops import dropped
from tests.helpers.import_dialog import complaint, finish
from tests.helpers.import_kit import answer, refuse, report
from tests.helpers.patience import HANG
from tests.helpers.screen_reader import nameless


@pytest.fixture
def window(qtbot: QtBot, context: PageContext) -> MainWindow:
    window = MainWindow(context, "new")
    qtbot.addWidget(window)
    with qtbot.waitActive(window):
        window.show()
        window.activateWindow()
    return window


COMMAND = ("--lines", "import", "x.pt", "--json")


# -- the form ------------------------------------------------------------------------------


def test_the_form_is_a_command_line(dialog: ImportDialog, tmp_path: Path) -> None:
    form = dialog.form
    form.put_file(str(tmp_path / "net.pt"))
    form.put_images({"folder": "/pictures", "limit": 300})
    for key, text in (("name", "Mine"), ("density", "0.1"), ("mean", "0.5 0.4, 0.3")):
        form.lines[key].setText(text)
    form.lines["std"].setText("0.2,0.2,0.2")
    expected = [str(tmp_path / "net.pt"), "--folder", "/pictures", "--limit", "300"]
    expected += ["--name", "Mine", "--density", "0.1"]
    expected += ["--mean", "0.5,0.4,0.3", "--std", "0.2,0.2,0.2"]
    assert form.options() == expected
    form.put_images({"name": "imagenet", "root": "/val", "resize": 232, "crop": 224})
    assert form.options()[1:9] == [
        *("--dataset", "imagenet", "--root", "/val"),
        *("--resize", "232", "--crop", "224"),
    ]
    assert import_arguments(["x.pt"]) == ["-P", "-m", "engine", *COMMAND]


def test_what_is_missing_is_said_at_its_field(dialog: ImportDialog) -> None:
    form = dialog.form

    assert complaint(dialog) == "Choose the file of the model."
    assert form.file.hasFocus()
    form.put_file("/net.pt")
    assert complaint(dialog) == "Choose where the images to measure on are."
    assert form.location.path.hasFocus()
    form.put_images({"name": "digits"})
    form.lines["mean"].setText("0.5")
    form.more.open(True)
    assert "belong together" in complaint(dialog)
    assert form.lines["std"].hasFocus()


def test_the_file_is_chosen_and_the_images_are_remembered(
    qtbot: QtBot, context: PageContext, dialog: ImportDialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_dialogs, "ask_open", lambda *_: Path("/models/net.th"))
    dialog.form.choose.click()
    assert dialog.form.file.text() == "/models/net.th"
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    dialog.form.put_images({"npz": "/pictures.npz", "limit": 50})
    dialog.examine.click()
    again = ImportDialog(context)
    qtbot.addWidget(again)
    assert again.form.images() == {"npz": "/pictures.npz", "limit": 50}
    qtbot.waitUntil(lambda: dialog._process is None)
    assert "could not be started" in dialog.message._text.text()


def test_every_control_has_a_name(dialog: ImportDialog) -> None:
    dialog.form.more.open(True)
    dialog.form.put_file("/x.py")
    assert nameless(dialog) == []
    dialog._finished(report())
    assert nameless(dialog) == []


# -- the process ---------------------------------------------------------------------------


def test_a_healthy_model_is_told_and_can_be_used(qtbot: QtBot, dialog: ImportDialog) -> None:
    dialog.form.put_images({"folder": "/pictures"})
    heard: list[object] = []
    dialog.imported.connect(heard.append)
    dialog.use.connect(lambda *args: heard.append(args))
    finish(qtbot, dialog, answer(report()))
    assert heard == ["net"]
    assert dialog.stack.currentWidget() is dialog.view
    assert dialog.view.verdict.text().startswith("Healthy")
    assert dialog.stored.text() == "In the library as net."
    assert dialog.study.isVisible()
    assert not dialog.keep.isVisible()
    dialog.study.click()
    assert heard[1] == ("net", {"folder": "/pictures"})


def test_what_a_library_prints_before_the_report_is_no_matter(
    qtbot: QtBot, dialog: ImportDialog
) -> None:
    arguments = answer(report())
    finish(qtbot, dialog, ["-c", f"print('Downloading {{this}} to {{that}}'); {arguments[1]}"])
    assert dialog.report == report()


def test_keeping_a_sick_one_takes_two_steps(
    qtbot: QtBot, dialog: ImportDialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    sick = report(health="not healthy", verdict="Not healthy: near guessing.", model="")
    finish(qtbot, dialog, answer(sick))
    assert dialog.stored.text() == "Not put into the library."
    assert not dialog.study.isVisible()
    asked: list[list[str]] = []
    monkeypatch.setattr(dialog, "_run", asked.append)
    dialog.keep.click()
    assert asked == []
    assert dialog.sure.isVisible()
    dialog.sure._action.click()
    assert [options[-1] for options in asked] == ["--keep"]


def test_a_doubt_about_k_leads_to_the_field(qtbot: QtBot, dialog: ImportDialog) -> None:
    doubt = "Doubtful: k is not known, and k = 0.1 is no clear winner: give --density; 40.0% ..."
    finish(
        qtbot, dialog, answer(report(health="doubtful", verdict=doubt, model="", doubted="density"))
    )
    assert "give Density k" in dialog.view.verdict.text()
    dialog.back.click()
    assert dialog.form.isVisible()
    assert dialog.form.lines["density"].hasFocus()


def guesses(*right: float, chosen: int = 0) -> tuple[Guess, ...]:
    return tuple(
        Guess(number=7 * place + 1, words=f"network {place}", accuracy=one, images=500,
              chosen=place == chosen)
        for place, one in enumerate(right)
    )  # fmt: skip


def test_what_the_images_do_not_decide_is_chosen_in_a_list(
    qtbot: QtBot, dialog: ImportDialog, monkeypatch: pytest.MonkeyPatch
) -> None:
    doubt = "Doubtful: candidate 8 is perhaps more accurate: choose by --candidate; 40.0% ..."
    unclear = report(health="doubtful", verdict=doubt, model="", doubted="candidate",
                     guesses=guesses(0.6, 0.59, 0.2, chosen=1), deduced="network 1")  # fmt: skip
    finish(qtbot, dialog, answer(unclear))
    assert "choose one below" in dialog.view.verdict.text()
    table = dialog.view.candidates
    assert table is not None
    assert table.hasFocus()
    first, second, _ = cells(table)
    assert first == ["1", "network 0", "60.0%", ""]
    assert second == ["8", "network 1", "59.0%", "chosen"]
    assert dialog.take.text() == "Import candidate 8"
    qtbot.keyClick(table, Qt.Key.Key_Up)
    assert dialog.take.text() == "Import candidate 1"
    asked: list[list[str]] = []
    monkeypatch.setattr(dialog, "_run", asked.append)
    dialog.form.put_file("/net.pt")
    dialog.take.click()
    assert asked[0][-2:] == ["--candidate", "1"]
    dialog.form.put_file("/other.pt")
    assert "--candidate" not in dialog.form.options()


def test_candidates_of_a_stored_model_are_to_read_only(qtbot: QtBot, dialog: ImportDialog) -> None:
    finish(qtbot, dialog, answer(report(guesses=guesses(0.9, 0.4), deduced="network 0")))
    assert rows(dialog.view, "Networks that")[0] == ["1", "network 0", "90.0%", "chosen"]
    assert not dialog.take.isVisible()
    assert dialog.study.hasFocus()


@pytest.mark.parametrize(
    ("hint", "shown", "field"),
    [
        ("Choose another name with --name.", "with Name.", "name"),
        ("Name one with --arch.", "with Architecture.", "arch"),
        ("Choose one, for example: --part ema.", "Part ema.", "part"),
    ],
)
def test_an_error_leads_to_its_field(
    qtbot: QtBot, dialog: ImportDialog, hint: str, shown: str, field: str
) -> None:
    finish(qtbot, dialog, refuse("Error: and a sentence.", hint, field))
    assert dialog.message._text.text() == f"Error: and a sentence. {in_window(hint)}"
    assert dialog.message._text.text().endswith(shown)
    assert "--" not in dialog.message._text.text()
    assert dialog.form.lines[field].hasFocus()
    assert dialog.examine.isVisible()


def test_an_error_without_a_field_leads_to_the_file(qtbot: QtBot, dialog: ImportDialog) -> None:
    finish(qtbot, dialog, refuse("The file x is no checkpoint: it is empty."))
    assert dialog.message._text.text() == "The file x is no checkpoint: it is empty."
    assert dialog.form.file.hasFocus()


def test_a_crash_is_one_line(qtbot: QtBot, dialog: ImportDialog) -> None:
    finish(qtbot, dialog, ["-c", "raise RuntimeError('Error: out of luck')"])
    assert dialog.message._text.text() == "RuntimeError: Error: out of luck"


def test_progress_is_shown_and_cancelling_is_no_error(qtbot: QtBot, dialog: ImportDialog) -> None:
    script = (
        "import sys, time; w = sys.stderr.write; w('45%|####| of a library ...\\n[1]\\n');"
        'w(\'{"doing": "Loading ...", "share": 0.45}\\n{"doing": "Trying ..."}\\n\');'
        'w(\'{"doing": "Loading ...", "share": 0.6}\\n\');'
        "sys.stderr.flush(); time.sleep(60)"
    )
    dialog.run(["-c", script])
    process = dialog._process
    assert isinstance(process, ImportProcess)
    told: list[tuple[str, float]] = []
    process.told.connect(lambda *args: told.append(args))
    qtbot.waitUntil(lambda: len(told) == 3)
    assert told == [("Loading ...", 0.45), ("Trying ...", -1), ("Loading ...", 0.6)]
    assert (dialog.bar.value(), dialog.bar.maximum()) == (60, 100)
    assert not dialog.form.isEnabled()
    with qtbot.waitSignal(process.destroyed):
        qtbot.mouseClick(dialog.cancel, Qt.MouseButton.LeftButton)
    assert dialog.message._text.text() == "Stopped; nothing was stored."
    assert dialog.form.isEnabled()
    assert not dialog.bar.isVisible()


def test_escape_stops_first_and_closes_then(qtbot: QtBot, dialog: ImportDialog) -> None:
    dialog.run(["-c", "import time; time.sleep(60)"])
    process = dialog._process
    assert process is not None
    with qtbot.waitSignal(process.destroyed):
        qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert dialog.isVisible()
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert not dialog.isVisible()


def test_closing_ends_the_process(qtbot: QtBot, dialog: ImportDialog) -> None:
    dialog.run(["-c", "import time; time.sleep(60)"])
    process = dialog._process
    assert process is not None
    with qtbot.waitSignal(process.destroyed):
        dialog.close()


# -- the report ----------------------------------------------------------------------------


@pytest.fixture
def view(qtbot: QtBot, context: PageContext) -> ReportView:
    view = ReportView()
    qtbot.addWidget(view)
    return view


def rows(view: ReportView, name: str) -> list[list[str]]:
    table = next(
        table for table in view.findChildren(SmallTable) if table.accessibleName().startswith(name)
    )
    return cells(table)


def cells(table: QTableWidget) -> list[list[str]]:
    return [
        [table.item(row, column).text() for column in range(table.columnCount())]
        for row in range(table.rowCount())
    ]


def said(view: ReportView) -> list[str]:
    return [label.text() for label in view.widget().findChildren(QLabel)]


def test_the_verdict_comes_first_then_the_accuracy(view: ReportView) -> None:
    view.show_report(report())
    words = [text for text in said(view) if text]
    assert words[0] == report().verdict
    assert words[1] == (
        "Clean accuracy 81.2%, 95 % interval 80.1% to 82.3%, on 5,000 images of pictures"
    )
    assert "fc.extra: not part of resnet-20" in words
    assert any("prefix 'module.'" in text for text in words)


def test_trials_say_which_fits_and_by_how_much(view: ReportView) -> None:
    view.show_report(report())
    assert rows(view, "Normalisations") == [
        ["ImageNet constants", "81.2%", "0.7", "", "chosen"],
        ["CIFAR-10 constants", "81.0%", "0.71", "-0.2 points", ""],
        ["none", "31.0%", "3.2", "-50.2 points", ""],
    ]


def test_layers_are_listed_only_where_something_was_removed(view: ReportView) -> None:
    view.show_report(report())
    assert len(view.findChildren(SmallTable)) == 1
    layers = (
        LayerDensity(name="conv1", weights=1000, density=0.5),
        LayerDensity(name="linear", weights=2000, density=0.1),
    )
    trials = (
        Trial(label="k = 0.1", accuracy=0.8, loss=1, images=500, chosen=True),
        Trial(label="k = 0.2", accuracy=0.3, loss=2, images=500),
    )
    view.show_report(report(density=0.23, layers=layers, kept=0.1, density_trials=trials))
    assert rows(view, "Density of each layer") == [
        ["linear", "2,000", "10.0%"],
        ["conv1", "1,000", "50.0%"],
    ]
    assert rows(view, "Densities")[1] == ["k = 0.2", "30.0%", "2", "-50.0 points", ""]


@pytest.mark.parametrize(
    ("health", "sign"), [("healthy", "ok"), ("doubtful", "warning"), ("not healthy", "danger")]
)
def test_each_verdict_has_its_own_sign(view: ReportView, health: str, sign: str) -> None:
    from gui.widgets.traffic_light import LightIcon

    view.show_report(report(health=health))
    assert [icon._level for icon in view.widget().findChildren(LightIcon)] == [sign]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Give --dataset, --folder or --npz.", "Choose them below."),
        ("--density 0.1 has no effect", "Density k 0.1 has no effect"),
        ("The file is empty.", "The file is empty."),
    ],
)
def test_words_of_the_command_line_become_those_of_the_window(text: str, shown: str) -> None:
    assert in_window(text) == shown


def test_ways_out_name_the_fields_of_the_window() -> None:
    for hint in (BY_ORIGIN, by_source("w.pth")):
        assert "--" not in in_window(hint)
        assert "choose it as Python file" in in_window(hint)


def test_every_field_that_an_error_names_has_a_place_in_the_form(
    dialog: ImportDialog, tmp_path: Path
) -> None:
    named = {
        keyword.value.value
        for file in Path(engine.__file__).parent.rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(call, ast.Call)
        for keyword in call.keywords
        if keyword.arg == "field" and isinstance(keyword.value, ast.Constant)
    }
    # Others are of commands that the dialog never calls.
    cli = Path(engine.__file__).parent / "cli"
    code = "".join((cli / name).read_text("utf-8") for name in ("importing.py", "options.py"))
    named &= set(re.findall(r'"--([a-z-]+)"', code))
    assert {"density", "mean", "class", "args", *named} <= FIELDS.keys()
    assert len(named) > 4
    (tmp_path / "net.py").write_text("def make(): ...")
    dialog.form.put_file(str(tmp_path / "net.py"))
    dialog.form.put_images({"folder": "/pictures"})
    for field in named:
        dialog.form.file.setFocus()
        dialog.form.point_at(field)
        assert not dialog.form.file.hasFocus(), field


# -- the window ----------------------------------------------------------------------------


def test_a_folder_with_a_configuration_is_a_model(
    qtbot: QtBot, window: MainWindow, tmp_path: Path
) -> None:
    assert not dropped(window, str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert dropped(window, str(tmp_path))
    dialog = window.models.dialog
    assert dialog is not None
    assert dialog.form.file.text() == str(tmp_path)
    dialog.close()
    qtbot.waitUntil(lambda: window.models.dialog is None)


def test_a_checkpoint_is_dropped_on_the_window(qtbot: QtBot, window: MainWindow) -> None:
    assert dropped(window, "/models/net.tar")
    dialog = window.models.dialog
    assert dialog is not None
    assert dialog.form.file.text() == "/models/net.tar"
    assert dropped(window, "/models/second.pt2")
    assert window.models.dialog is dialog
    assert dialog.form.file.text() == "/models/second.pt2"
    dialog.close()
    qtbot.waitUntil(lambda: window.models.dialog is None)


def test_other_files_are_not_taken(window: MainWindow) -> None:
    assert not dropped(window, "/pictures/cat.png")
    assert not dropped(window, "/a.pt", "/b.pt")
    assert window.models.dialog is None


def test_a_dropped_study_is_shown(window: MainWindow) -> None:
    from engine.host import paths

    assert dropped(window, str(paths.example_study()))
    page = window.page()
    assert isinstance(page, NewPage)
    assert page.study is not None


def test_the_dialog_opens_by_key_and_closes_with_the_window(
    qtbot: QtBot, window: MainWindow
) -> None:
    keys = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    qtbot.keyClick(window, Qt.Key.Key_O, keys)
    dialog = window.models.dialog
    assert dialog is not None
    assert dialog.isVisible()
    dialog.run(["-c", f"import time; time.sleep({10 * HANG})"])
    process = dialog._process
    assert process is not None
    window.close()  # asks first, and both go on
    assert dialog.isVisible()
    window.may_close = True
    with qtbot.waitSignal(process.destroyed):
        window.close()


def test_the_form_alone_is_ready(qtbot: QtBot, context: PageContext) -> None:
    form = ImportForm()
    qtbot.addWidget(form)
    assert form.objection() is not None
