"""The documentation tells the truth: every command, option, id, name and file that it names."""

from __future__ import annotations

import ast
import re
import runpy

import click
import pytest

from docs.tools import names
from docs.tools.reference import outdated
from docs.tools.screenshots import PAGES as SHOT
from engine import catalog
from engine.cli.main import main
from gui.pages import PAGES as WINDOW_PAGES
from gui.shell.help_window import slug
from tests.helpers.pages import PAGES, PROSE, ROOT, headings, section, without_code

COMMANDS = {
    name: main.get_command(click.Context(main), name)
    for name in main.list_commands(click.Context(main))
}


def options_of(command: click.Command | None) -> set[str]:
    """The options of a command, or of all commands of a group."""
    if isinstance(command, click.Group):
        return set().union(*map(options_of, command.commands.values()))
    return (
        {option for parameter in command.params for option in parameter.opts} if command else set()
    )


OPTIONS = {name: options_of(command) for name, command in COMMANDS.items()}
EVERY_OPTION = {"--help", "--version"}.union(*OPTIONS.values())


def test_generated_parts_are_up_to_date() -> None:
    assert not [page.name for page in outdated()], "run: make docs"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_described(name: str) -> None:
    text = section(PAGES["command-line"], f"## crumple {name}")
    assert set(re.findall(r"`(--[a-z][a-z-]*)", text)) == {
        option for option in OPTIONS[name] if option.startswith("--")
    }


@pytest.mark.parametrize("page", PROSE)
def test_commands_and_options_that_the_prose_names_exist(page: str) -> None:
    spans = re.findall(r"`([^`\n]+)`", without_code(PROSE[page]))
    named = {span.split()[1] for span in spans if re.match(r"crumple [a-z]", span)}
    assert named <= COMMANDS.keys()
    calls = [span for span in spans if span.startswith(("--", "crumple "))]
    options = {option for call in calls for option in re.findall(r"--[a-z][a-z-]*", call)}
    assert options <= EVERY_OPTION


SECTIONS = {"attacks": "attacks", "compressions": "compressions", "training": "compressions"}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_method_has_its_section(name: str) -> None:
    missing = catalog.section(name).keys() - set(headings(PAGES[SECTIONS[name]]))
    assert not missing, f"docs/{SECTIONS[name]}.md lacks {missing}"


@pytest.mark.parametrize(("name", "page"), [("datasets", "pictures"), ("models", "studies")])
def test_everything_else_that_can_be_named_is_described(name: str, page: str) -> None:
    missing = [id_ for id_ in catalog.section(name) if f"`{id_}`" not in PAGES[page]]
    assert not missing, f"docs/{page}.md lacks {missing}"


def test_no_page_describes_a_method_that_is_not_there() -> None:
    known = {id_ for name in SECTIONS for id_ in catalog.section(name)}
    described = {
        heading
        for page in set(SECTIONS.values())
        for heading in re.findall(r"^### (.+)$", PAGES[page], re.MULTILINE)
    }
    assert described <= known


def test_the_readme_counts_right() -> None:
    text = PROSE["README.md"]
    assert f"{len(catalog.section('attacks'))} attacks" in text
    assert f"{len(catalog.section('compressions')) - 1} compressions" in text


def test_the_readme_is_short() -> None:
    assert len(PROSE["README.md"].encode()) < 6000


def test_every_flag_is_described_at_its_level() -> None:
    described = dict(re.findall(r"^\| `([a-z-]+)` \| ([a-z ]+) \|", PAGES["flags"], re.MULTILINE))
    raised = {
        found
        for file in (ROOT / "engine").rglob("*.py")
        for found in re.findall(r'Flag\(\s*"([a-z-]+)",\s*"?(\w+)"?', file.read_text("utf-8"))
    }
    assert raised
    missing = {id_ for id_, _ in raised} ^ described.keys()
    assert not missing, f"docs/flags.md and engine differ in {missing}"
    levels = {id_: level for id_, level in raised if level != "level"}
    assert all(levels[id_] in described[id_] for id_ in levels)


@pytest.mark.parametrize("page", PROSE)
def test_links_lead_somewhere(page: str) -> None:
    broken = []
    for path, anchor in re.findall(
        r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)", without_code(PROSE[page])
    ):
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists():
            broken.append(path)
        elif anchor and anchor not in map(slug, headings(target.read_text("utf-8"))):
            broken.append(f"{path}#{anchor}")
    assert not broken, f"{page} links {broken}"


def test_the_contents_name_every_page() -> None:
    linked = re.findall(r"^- \[[^\]]+\]\(([\w-]+)\.md\)", PAGES["index"], re.MULTILINE)
    assert sorted(linked) == sorted(PAGES.keys() - {"index"})


@pytest.mark.parametrize("page", [*PROSE, "CHANGELOG.md"])
def test_files_that_the_prose_names_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    quoted = re.findall(r"`((?:engine|gui|resources|tests|packaging|docs)/[\w./-]*)`", text)
    missing = [path for path in quoted if not (ROOT / path).exists()]
    assert not missing, f"{page} names {missing}"


@pytest.mark.parametrize("page", [*PROSE, "CHANGELOG.md"])
def test_make_targets_that_the_prose_names_exist(page: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    named = re.findall(r"\bmake ([a-z]+)`", (ROOT / page).read_text("utf-8"))
    assert set(named) <= set(targets)


@pytest.mark.parametrize("page", PROSE)
def test_names_of_the_code_exist(page: str) -> None:
    text = without_code(PROSE[page])
    named = re.findall(r"`((?:engine|gui|tests)(?:\.\w+)+)(?:\(.*?\))?`", text)
    missing = [name for name in named if not name.endswith(".py") and not defined(name)]
    assert not missing, f"{page} names {missing}"


def defined(name: str) -> bool:
    """Whether a dotted name is a package, a module, or a class, function or value in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        folder = ROOT.joinpath(*parts[:length])
        for file in (folder.with_suffix(".py"), folder / "__init__.py"):
            if file.is_file():
                return _inside(ast.parse(file.read_text("utf-8")).body, parts[length:])
    return False


def _inside(body: list[ast.stmt], names: list[str]) -> bool:
    if not names:
        return True
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == names[0]:
            return _inside(node.body, names[1:])
        targets = [node.target] if isinstance(node, ast.AnnAssign) else []
        targets += node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(one, ast.Name) and one.id == names[0] for one in targets):
            return len(names) == 1
        imported = node.names if isinstance(node, ast.ImportFrom) else []
        if any((one.asname or one.name) == names[0] for one in imported):
            return len(names) == 1
    return False


def test_the_check_of_names_sees_what_is_not_there() -> None:
    assert defined("engine.attacks.run.run_attack")
    assert defined("engine.specs.study.Study.runs")
    assert not defined("engine.specs.study.Study.runz")
    assert not defined("engine.nowhere.run")


@pytest.mark.parametrize("page", WINDOW_PAGES)
def test_every_page_of_the_window_is_described(page: str) -> None:
    text = section(PAGES["window"], f"## {WINDOW_PAGES[page].title}")
    assert f"](images/{page}.png)" in text
    assert f"`{page}`" in section(PAGES["command-line"], "## crumple gui")
    assert page in SHOT


@pytest.mark.parametrize("page", ["first-study", "own-model", "window"])
def test_controls_that_the_guides_name_are_in_the_window(page: str) -> None:
    """Slanted terms that begin with a capital are the words of a control, a column or a page."""
    shown = tuple(text.strip() for text in _texts_of_the_window())
    terms = re.findall(r"(?<!\*)\*([A-Z][^*]+)\*(?!\*)", PAGES[page].replace("\n", " "))
    named = {part.strip() for term in terms for part in re.sub(r"\s+", " ", term).split(" > ")}
    missing = {term for term in named if not any(text.startswith(term) for text in shown)}
    assert not missing, f"docs/{page}.md names {missing}"


def _texts_of_the_window() -> set[str]:
    texts = {
        node.value.replace("&", "")
        for file in (*(ROOT / "gui").rglob("*.py"), *(ROOT / "engine/importing").glob("*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    titles = {entry.title for name in catalog.SECTIONS for entry in catalog.section(name).values()}
    return texts | titles | {title.split(" (")[0] for title in titles}


def test_the_check_of_qt_names_what_is_missing() -> None:
    check = runpy.run_path(str(ROOT / "packaging" / "check_qt.py"))
    assert check["missing_packages"]({"libthere-is-none.so.1": "none-such"}) == ["none-such"]
    installed = (ROOT / ".ci" / "run").read_text("utf-8").split()
    known = {*check["LIBRARIES"].values(), *check["X11_LIBRARIES"].values()}
    assert known <= set(installed)


def test_a_list_of_numbers_is_no_table() -> None:
    rows = "\n".join(names.study_keys()).splitlines()
    allowed = {row.split(" | ")[0].strip("| `"): row.split(" | ")[2] for row in rows[2:]}
    assert (allowed["seeds"], allowed["model"]) == ("list of integers", "tables")
