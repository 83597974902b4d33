"""What the window can do, as data: menus, command palette and shortcut sheet come from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.host import paths
from gui.base import error_hooks, theme
from gui.pages import PAGES
from gui.pages.base import Page
from gui.shell.window import Window

MENUS = ("File", "Edit", "View", "Run", "Help")

GUIDES = {
    "index": "contents",
    "first-study": "your first study",
    "own-model": "your own model and pictures",
    "window": "the window, page by page",
    "results": "reading the results",
}
"""Pages of documentation that have an entry in the menu, and what they are about."""

TEMPLATES = {
    "systems-digits": "every compression system, on digits",
    "paper-digits": "the review's benchmark, on digits",
    "paper-cifar10": "the review's benchmark, on CIFAR-10",
    "paper-cifar10-hydra": "the review's benchmark, on CIFAR-10: Hydra",
}
"""Studies that come with the program, beside the example, and what they are about."""


def _always(window: Window) -> bool:
    return True


@dataclass(frozen=True)
class Action:
    """One thing to do.

    Attributes:
        id: stable name.
        menu: one of ``MENUS``.
        text: what it says in menus and in the palette.
        run: does it.
        shortcuts: key sequences, the one to show first.
        icon: name of an icon, may be empty.
        enabled: whether it makes sense now.
        checked: for a choice, whether it is the one in force.
        group: actions of different groups are separated in the menu.
    """

    id: str
    menu: str
    text: str
    run: Callable[[Window], object]
    shortcuts: tuple[str, ...] = ()
    icon: str = ""
    enabled: Callable[[Window], bool] = _always
    checked: Callable[[Window], bool] | None = None
    group: int = 0


def _page_has(method: str) -> Callable[[Window], bool]:
    def has(window: Window) -> bool:
        return getattr(type(window.page()), method) is not getattr(Page, method)

    return has


def _to(page_id: str) -> Callable[[Window], None]:
    return lambda window: window.show_page(page_id)


def _on(page_id: str) -> Callable[[Window], bool]:
    return lambda window: window.page_id == page_id


def _use(mode: str) -> Callable[[Window], None]:
    return lambda window: theme.current().use(mode)


def _used(mode: str) -> Callable[[Window], bool]:
    return lambda window: theme.current().mode == mode


def _guide(name: str) -> Callable[[Window], None]:
    def show(window: Window) -> None:
        from gui.shell.help_window import GuideWindow

        GuideWindow(name, window).show()

    return show


def _template(name: str) -> Callable[[Window], None]:
    return lambda window: window.load_study(paths.study_template(name))


_FILE = (
    Action("new", "File", "New study", lambda w: w.new_study(), ("Ctrl+N",), "new"),
    Action(
        "example",
        "File",
        "Load the example",
        lambda w: w.load_study(paths.example_study()),
        icon="crumple",
    ),
    Action("open", "File", "Open study…", lambda w: w.open_study(), ("Ctrl+O",), "folder"),
    Action("save", "File", "Save study as…", lambda w: w.save_study(), ("Ctrl+S",), "save"),
    Action(
        "add-model",
        "File",
        "Add a model to the study…",
        lambda w: w.add_model(),
        ("Ctrl+Shift+M",),
        "new",
        group=1,
    ),
    Action(
        "import",
        "File",
        "Import model…",
        lambda w: w.models.import_model(),
        ("Ctrl+Shift+O",),
        "import",
        group=1,
    ),
    Action(
        "models",
        "File",
        "Models",
        lambda w: w.models.show_library(),
        ("Ctrl+M",),
        "models",
        group=1,
    ),
    Action(
        "export",
        "File",
        "Export what is shown…",
        lambda w: w.page().export(),
        ("Ctrl+E",),
        "export",
        _page_has("export"),
        group=2,
    ),
    Action("quit", "File", "Quit", lambda w: w.close(), ("Ctrl+Q",), group=3),
)
_EDIT = (
    Action(
        "undo",
        "Edit",
        "Undo",
        lambda w: w.undo(),
        ("Ctrl+Z",),
        "undo",
        lambda w: w.undo_stack.canUndo(),
    ),
    Action(
        "redo",
        "Edit",
        "Redo",
        lambda w: w.redo(),
        ("Ctrl+Shift+Z", "Ctrl+Y"),
        "redo",
        lambda w: w.undo_stack.canRedo(),
    ),
    Action(
        "filter",
        "Edit",
        "Filter",
        lambda w: w.page().focus_filter(),
        ("Ctrl+F",),
        "filter",
        _page_has("focus_filter"),
        group=1,
    ),
)
_PAGES = tuple(
    Action(
        f"page-{page_id}",
        "View",
        entry.title,
        _to(page_id),
        (f"Ctrl+{number}",),
        entry.icon,
        checked=_on(page_id),
    )
    for number, (page_id, entry) in enumerate(PAGES.items(), 1)
)
_VIEW = (
    Action(
        "details",
        "View",
        "Details panel",
        lambda w: w.details.setVisible(w.details.isHidden()),
        ("Ctrl+I",),
        "details",
        checked=lambda w: not w.details.isHidden(),
        group=1,
    ),
    Action(
        "palette",
        "View",
        "Command palette",
        lambda w: w.open_palette(),
        ("Ctrl+K",),
        "search",
        group=1,
    ),
    *(
        Action(
            f"theme-{mode}",
            "View",
            f"Theme: {mode}",
            _use(mode),
            icon="theme",
            checked=_used(mode),
            group=2,
        )
        for mode in theme.MODES
    ),
)
_RUN = (
    Action(
        "start",
        "Run",
        "Start the study",
        lambda w: w.start_study(),
        ("Ctrl+Return", "Ctrl+Enter"),
        "play",
        lambda w: w.page_id == "new",
    ),
    Action(
        "stop",
        "Run",
        "Stop the queue and what runs",
        lambda w: w.queue.stop(),
        ("Ctrl+.",),
        "stop",
        lambda w: w.context.client.busy,
    ),
    Action(
        "skip",
        "Run",
        "Skip the running run",
        lambda w: w.queue.skip(),
        icon="last",
        enabled=lambda w: w.context.client.running is not None,
    ),
    Action(
        "pause",
        "Run",
        "Pause the queue after this run",
        lambda w: w.queue.pause(),
        icon="pause",
        enabled=lambda w: not w.context.client.paused,
        group=1,
    ),
    Action(
        "resume",
        "Run",
        "Resume the queue",
        lambda w: w.queue.resume(),
        icon="play",
        enabled=lambda w: w.context.client.paused,
        group=1,
    ),
    Action("device", "Run", "Device…", lambda w: w.queue.choose_device(), group=2),
)
_HELP = (
    Action("help", "Help", "Keyboard shortcuts", lambda w: w.show_shortcuts(), ("F1",), "help"),
    *(
        Action(f"guide-{name}", "Help", f"Guide: {title}", _guide(name), icon="help", group=1)
        for name, title in GUIDES.items()
    ),
    *(
        Action(f"study-{name}", "Help", f"Study: {title}", _template(name), icon="new", group=2)
        for name, title in TEMPLATES.items()
    ),
    Action(
        "log",
        "Help",
        "Open the log folder",
        lambda _: error_hooks.open_log_folder(),
        icon="folder",
        group=3,
    ),
)

ACTIONS: tuple[Action, ...] = (*_FILE, *_EDIT, *_PAGES, *_VIEW, *_RUN, *_HELP)
