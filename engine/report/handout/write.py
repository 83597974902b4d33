"""The files of a report, all of them or none: into a folder, or packed into one zip."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from engine.errors import CrumpleError
from engine.report.category_changes import COLUMNS as CHANGE_COLUMNS
from engine.report.category_changes import change_rows
from engine.report.cells import csv_text, markdown
from engine.report.defended import COLUMNS as DEFENDED_COLUMNS
from engine.report.defended import defended_rows
from engine.report.differences import differences_text
from engine.report.figures import KINDS, chart_details, draw_chart, save_chart
from engine.report.handout.conclusions import Sentence, conclusions
from engine.report.handout.contents import Contents, contents, foremost
from engine.report.handout.measured import category_table, defence_table
from engine.report.handout.page import html
from engine.report.handout.worst import WORST_COLUMNS, worst_markdown, worst_rows
from engine.report.published.rows import published
from engine.report.published.tables import joined_text
from engine.report.repeats import SPREAD_WORDS, repeats_text
from engine.report.tables import results_text, samples_bytes
from engine.store import Store

Tell = Callable[[str], None]

_FIGURES = {
    "pareto": "Robust accuracy against compression rate",
    "bars": "Robust accuracy of each variant",
    "heatmap": "Variants and attacks",
    "curve": "Robust accuracy along the steps of the attacks",
    "security": "Robust accuracy against eps, from distances",
    "transfer": "Examples of one variant on the others",
    "categories": "Change of clean and robust accuracy against compression rate, by category",
    "metrics": "Robust accuracy, average perturbation, compression rate and parameters",
}


def write_report(
    store: Store,
    study: str,
    out: Path,
    titles: Mapping[str, str],
    tell: Tell = lambda _: None,
) -> Path:
    """Write the report of a study.

    Args:
        store: the database.
        study: its name; the newest of that name.
        out: a folder that does not exist or is empty, or the name of a ``.zip`` file, which is
            replaced once the new one is whole.
        titles: what models are called, by id.
        tell: is told what is going on.

    Returns:
        The page to open, or the zip file.

    Raises:
        CrumpleError: there is nothing to report, or it cannot be written; nothing half-written
            stays.
    """
    packed = out.suffix.lower() == ".zip"
    _check_place(out, packed)
    tell(f"Reading {study!r} ...")
    found = contents(store, study, titles)
    with _beside(out) as folder:
        tell("Drawing the figures ...")
        _write_all(folder, store, found, titles)
        _write_hashes(folder)
        if packed:
            made = Path(shutil.make_archive(str(folder.parent / "packed"), "zip", folder))
            made.replace(out)
            return out
        if out.exists():
            out.rmdir()
        folder.replace(out)
    return out / "index.html"


def _check_place(out: Path, packed: bool) -> None:
    """A file is replaced, as every export does; a folder may hold what is somebody's."""
    folder = out.is_dir() and (packed or any(out.iterdir()))
    if folder or (out.exists() and not out.is_dir() and not packed):
        raise CrumpleError(
            f"The report cannot be written to {out}: there is something already.",
            "Name a folder that does not exist yet, or is empty, or a file that ends in .zip.",
        )


@contextlib.contextmanager
def _beside(out: Path) -> Iterator[Path]:
    """A folder on the same disk, which is gone in the end."""
    try:
        out.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".report-", dir=out.absolute().parent) as between:
            folder = Path(between) / "report"
            folder.mkdir()
            yield folder
    except OSError as error:
        raise CrumpleError(
            f"The report cannot be written to {out}: {error.strerror or error}.",
            "Choose a folder that you can write to.",
        ) from None


def _write_all(folder: Path, store: Store, found: Contents, titles: Mapping[str, str]) -> None:
    sentences = conclusions(found)
    for name in ("tables", "samples", "figures"):
        (folder / name).mkdir()
    figures = _draw(folder / "figures", store, found, titles)
    _write_tables(folder / "tables", found, titles)
    for run_id, verdicts in found.verdicts.items():
        content = samples_bytes(verdicts, {}, "csv")
        (folder / "samples" / f"run-{run_id}.csv").write_bytes(content)
    _write(folder / "study.toml", found.study.to_toml())
    _write(folder / "environments.json", _json(found.environments))
    _write(folder / "keys.json", _json(found.keys))
    _write(folder / "report.md", _markdown(found, sentences, titles))
    _write(folder / "index.html", html(found, sentences, figures))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="")


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


def _draw(
    folder: Path, store: Store, found: Contents, titles: Mapping[str, str]
) -> dict[str, bytes]:
    """Every figure there is something for, as SVG and PDF; the SVG by its title."""
    drawn = {}
    for kind in KINDS:
        try:
            details = chart_details(kind, found.compared, store)
            figure = draw_chart(kind, found.compared, details, titles=titles)
        except CrumpleError:
            continue  # nothing of that kind was run
        for suffix in (".svg", ".pdf"):
            save_chart(figure, folder / f"{kind}{suffix}")
        drawn[_FIGURES[kind]] = (folder / f"{kind}.svg").read_bytes()
    return drawn


def _write_tables(folder: Path, found: Contents, titles: Mapping[str, str]) -> None:
    for format_, suffix in (("csv", "csv"), ("markdown", "md"), ("latex", "tex")):
        _write(folder / f"results.{suffix}", results_text(found.rows, format_, titles))
    _write(folder / "worst-case.csv", csv_text(WORST_COLUMNS, worst_rows(found.worst)))
    if found.repeats:
        _write(folder / "over-seeds.csv", repeats_text(found.repeats, "csv"))
    if found.published:
        _write(folder / "published.csv", joined_text(found.published, published(), "csv"))
    if found.changes:
        _write(folder / "categories.csv", csv_text(CHANGE_COLUMNS, change_rows(found.changes)))
        _write(folder / "categories.tex", category_table(found.changes).text("latex"))
    if found.defended:
        _write(folder / "defences.csv", csv_text(DEFENDED_COLUMNS, defended_rows(found.defended)))
        _write(folder / "defences.tex", defence_table(found.defended).text("latex"))
    for name, tested in (("differences", found.differences), ("methods", found.methods)):
        _write(folder / f"{name}.csv", differences_text(tested, "csv"))


def _markdown(found: Contents, sentences: list[Sentence], titles: Mapping[str, str]) -> str:
    parts = [f"# {markdown(found.study.name)}", ""]
    for heading, certain in (("What can be concluded", True), ("What cannot", False)):
        told = [
            f"- {markdown(one.text)} (runs {', '.join(map(str, one.runs))})"
            for one in sentences
            if one.certain == certain
        ]
        parts += [f"## {heading}", "", *(told or ["Nothing."]), ""]
    parts += ["## Worst case of each variant", "", worst_markdown(found.worst)]
    if found.repeats:
        parts += ["## Over seeds", "", SPREAD_WORDS, "", repeats_text(found.repeats, "markdown")]
    if found.changes:
        parts += [
            "## Categories of compression",
            "",
            category_table(found.changes).text("markdown"),
        ]
    if found.defended:
        parts += ["## Defences", "", defence_table(found.defended).text("markdown")]
    if found.published:
        beside = joined_text(found.published, published(), "markdown")
        parts += ["## Published beside measured", "", beside]
    for heading, tested, none in (
        ("Differences to the uncompressed model", found.differences, ""),
        ("Method against method", foremost(found.methods), found.untested),
    ):
        table = differences_text(tested, "markdown") if tested else f"{none or 'None.'}\n"
        parts += [f"## {heading}", "", table]
    parts += ["## All runs", "", results_text(found.rows, "markdown", titles)]
    return "\n".join(parts)


def _write_hashes(folder: Path) -> None:
    """SHA-256 of every file, as ``sha256sum -c`` reads them."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}"
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    _write(folder / "SHA256SUMS", "\n".join(lines) + "\n")
