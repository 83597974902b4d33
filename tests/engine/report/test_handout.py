"""The report of a study: complete, self-contained, and saying what its own samples say."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import shutil
import sqlite3
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import closing
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from engine import catalog
from engine.cli.main import main
from engine.errors import CrumpleError
from engine.report import differences
from engine.report.handout import write
from engine.report.handout.conclusions import Sentence, conclusions
from engine.report.handout.contents import Contents, contents
from engine.report.tables import results_text
from engine.specs.study import Study
from engine.statistics.intervals import holm, mcnemar_exact
from engine.store import Store
from tests.helpers.filled_store import STUDY, fill
from tests.helpers.library import put_model

NAME = str(STUDY["name"])
TITLES = {"digits-resnet": "A <b>title</b> & more"}


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lab") / "lab.db"
    fill(path)
    return path


@pytest.fixture(scope="module")
def folder(database: Path) -> Path:
    with Store(database, readonly=True) as store:
        return write.write_report(store, NAME, database.parent / "report", TITLES).parent


@pytest.fixture
def store(database: Path) -> Iterator[Store]:
    with Store(database, readonly=True) as opened:
        yield opened


class Page(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name == "href" and value:
                self.links.append(value)
            if name == "src" and value:
                self.sources.append(value)


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    found = Page()
    found.feed((folder / "index.html").read_text("utf-8"))
    return found


def test_the_page_needs_no_other_file_and_every_link_leads_somewhere(page: Page) -> None:
    assert all(source.startswith("data:image/") for source in page.sources)
    assert len(page.sources) >= 4
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert "link" not in page.tags
    assert len(page.ids) == len(set(page.ids))


def test_names_are_text_and_no_markup(folder: Path, page: Page) -> None:
    text = (folder / "index.html").read_text("utf-8")
    assert "A &lt;b&gt;title&lt;/b&gt; &amp; more" in text
    assert "b" not in page.tags


def test_tables_are_those_of_the_command_line(folder: Path, store: Store) -> None:
    rows = store.results(NAME)
    for format_, suffix in (("csv", "csv"), ("markdown", "md"), ("latex", "tex")):
        written = (folder / "tables" / f"results.{suffix}").read_bytes().decode()
        assert written == results_text(rows, format_, TITLES)
    assert Study.from_toml(folder / "study.toml") == store.study(store.studies()[0]["id"])


@pytest.mark.parametrize(("table", "rows_"), [("differences", 4), ("methods", 2)])
def test_differences_are_recounted_from_the_samples(folder: Path, table: str, rows_: int) -> None:
    def broken(run_id: str) -> dict[str, bool]:
        text = (folder / "samples" / f"run-{run_id}.csv").read_text("utf-8")
        return {row["index"]: row["broken"] == "True" for row in csv.DictReader(io.StringIO(text))}

    text = (folder / "tables" / f"{table}.csv").read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == rows_  # two variants under two attacks, beside the model or each other
    p_values = []
    for row in rows:
        mine, base = broken(row["run_id"]), broken(row["base_run_id"])
        assert mine.keys() == base.keys()
        alone = sum(mine[one] and not base[one] for one in mine)
        other = sum(base[one] and not mine[one] for one in mine)
        assert (int(row["only_variant_broken"]), int(row["only_base_broken"])) == (alone, other)
        assert float(row["difference"]) == pytest.approx((other - alone) / len(mine))
        p_values.append(mcnemar_exact(alone, other))
    assert [float(row["p_holm"]) for row in rows] == pytest.approx(holm(p_values))


def test_the_worst_case_is_told_with_who_broke_what(folder: Path) -> None:
    text = (folder / "tables" / "worst-case.csv").read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    # Two runs on each of three variants; run k breaks the first 2 k of 20 images.
    assert [(row["run_id"], row["broken"], row["only"], row["left"]) for row in rows] == [
        ("2", "4", "2", "16"),
        ("1", "2", "0", "16"),
        ("4", "8", "2", "12"),
        ("3", "6", "0", "12"),
        ("6", "12", "2", "8"),
        ("5", "10", "0", "8"),
    ]
    assert [float(row["worst_case"]) for row in rows] == [0.8, 0.8, 0.6, 0.6, 0.4, 0.4]
    page, short = ((folder / name).read_text("utf-8") for name in ("index.html", "report.md"))
    assert "8 of 20 survive, 0 are wrong without an attack" in page
    assert "pgd-4 0.15 (run 6) 12, 2 of them alone" in short


def test_the_hashes_are_of_all_files(folder: Path) -> None:
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    told = dict(reversed(line.split("  ")) for line in lines)
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    assert set(told) == {path.relative_to(folder).as_posix() for path in files}
    for path in files:
        expected = told[path.relative_to(folder).as_posix()]
        assert hashlib.sha256(path.read_bytes()).hexdigest() == expected


def test_packed_it_is_the_same(folder: Path, store: Store, tmp_path: Path) -> None:
    made = write.write_report(store, NAME, tmp_path / "deep" / "report.zip", TITLES)
    with zipfile.ZipFile(made) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if name[-1] != "/"}
    whole = {path for path in folder.rglob("*") if path.is_file()}
    assert packed == {path.relative_to(folder).as_posix(): path.read_bytes() for path in whole}
    assert list(made.parent.iterdir()) == [made]


def test_conclusions_rest_on_the_runs_they_name(store: Store) -> None:
    found = contents(store, NAME, {})
    told = conclusions(found)
    known = {row["run_id"] for row in found.rows}
    assert all(one.runs and set(one.runs) <= known for one in told)
    assert all(len(set(one.runs)) == len(one.runs) for one in told), "each run once"
    (methods,) = [one for one in told if one.text.startswith("Method against method")]
    assert set(methods.runs) == {3, 4, 5, 6}, "both of each pair"
    # By hand: run k breaks the first 2 k of 20 images, so 8 images are lost by ptq and none won,
    # 2 x 2^-8 is 0.0078, and 4 times that after Holm; 4 lost by magnitude are no news.
    apart = [one for one in told if "p = 0.031 after Holm" in one.text]
    assert [one.runs for one in apart] == [(5, 1), (6, 2)]
    assert all(one.certain and "-40.0 points" in one.text for one in apart)
    assert any("2 comparisons of 4" in one.text and not one.certain for one in told)
    # No attack of another kind ran, so nothing is evidence of robustness.
    assert not any(one.certain for one in told if "survive" in one.text)
    assert any("cannot be quoted" in one.text and one.runs == (5, 6) for one in told)


def _flipped(found: Contents) -> list[Sentence]:
    """As if the variants were the base models: what is flagged seems the more robust one."""
    for one in found.differences:
        object.__setattr__(one.found, "difference", -one.found.difference)
    return conclusions(found)


def test_what_seems_more_robust_and_is_flagged_is_not_concluded(store: Store) -> None:
    told = [one for one in _flipped(contents(store, NAME, {})) if "after Holm" in one.text]
    assert len(told) == 2
    assert not any(one.certain for one in told)
    assert all("is flagged" in one.text for one in told)


def test_methods_are_told_apart_by_no_run_that_was_chosen_on_test_images(store: Store) -> None:
    found = contents(store, NAME, {})
    for one in found.methods:
        object.__setattr__(one, "adjusted", 0.01)
    for flags, certain in (([], True), ([{"id": "chosen-on-test", "level": "warning"}], False)):
        for one in found.methods:
            better = one.row if one.found.difference > 0 else one.base
            better["flags"] = flags
        (told,) = [one for one in conclusions(found) if one.text.startswith("Method against")]
        assert (told.certain, "is flagged" in told.text) == (certain, not certain)


def test_too_many_methods_are_said_with_the_way_out(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(differences, "MOST_PAIRS", 1)
    folder = write.write_report(store, NAME, tmp_path / "report", TITLES).parent
    page, short = ((folder / name).read_text("utf-8") for name in ("index.html", "report.md"))
    for text in (page.split('id="methods"')[1], short.split("## Method against method")[1]):
        section = text.split("## All runs")[0].split("<h2")[0]
        assert "These are 2 pairs of runs, but at most 1 are tested." in section
        assert "crumple compare RUN RUN" in section
        assert "None." not in section
    assert 'href="#methods"' in page


def test_false_robustness_is_concluded_with_the_number_to_quote(store: Store) -> None:
    found = contents(store, NAME, {})
    row = found.finished[-1]
    text = "60.0 points are false robustness. Quote the lower number."
    row["flags"] = [*row["flags"], {"id": "false-robustness", "level": "info", "text": text}]
    (told,) = [one for one in conclusions(found) if "false robustness" in one.text]
    assert told.runs == (row["run_id"],)
    assert told.certain
    assert told.text.startswith(f"{row['model']}, {row['compression']}, under {row['attack']}: ")


def _full(*_: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("taken", ["report/mine.txt", "report", "report.zip/mine.txt"])
def test_nothing_of_others_is_overwritten(taken: str, store: Store, tmp_path: Path) -> None:
    mine = tmp_path / taken
    mine.parent.mkdir(exist_ok=True)
    mine.write_text("mine")
    with pytest.raises(CrumpleError, match="there is something already"):
        write.write_report(store, NAME, tmp_path / Path(taken).parts[0], {})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


def test_a_file_is_replaced_once_the_new_one_is_whole(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "report.zip"
    out.write_text("former")
    with monkeypatch.context() as broken:
        broken.setattr(write, "html", _full)
        with pytest.raises(CrumpleError, match="No space left"):
            write.write_report(store, NAME, out, {})
    assert out.read_text() == "former"
    write.write_report(store, NAME, out, {})
    assert zipfile.is_zipfile(out)
    assert list(tmp_path.iterdir()) == [out]


def test_what_fails_leaves_nothing(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write, "html", _full)
    with pytest.raises(CrumpleError, match="No space left"):
        write.write_report(store, NAME, tmp_path / "report", {})
    assert list(tmp_path.iterdir()) == []


def test_a_study_without_a_finished_run_has_no_report(tmp_path: Path, database: Path) -> None:
    path = tmp_path / "lab.db"
    with closing(sqlite3.connect(database)) as old, closing(sqlite3.connect(path)) as new:
        old.backup(new)
        new.execute("UPDATE runs SET status = 'waiting'")
        new.commit()
    for name, words in ((NAME, "is finished"), ("other", "no study named")):
        done = CliRunner().invoke(
            main, ["report", "--study", name, "--db", str(path), "--out", str(tmp_path / "out")]
        )
        assert done.exit_code == 2
        assert words in done.output
    assert not (tmp_path / "out").exists()


def test_the_command_says_where_it_lies(database: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "report"
    done = CliRunner().invoke(
        main, ["report", "--study", NAME, "--db", str(database), "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    assert f"Wrote {out / 'index.html'}" in done.output
    shown = re.search(r"<h1>(.*?)</h1>", (out / "index.html").read_text("utf-8"))
    assert shown is not None
    assert shown[1] == NAME


@pytest.fixture
def hydra(tmp_path: Path) -> Iterator[Path]:
    """The report of a study of what others have published, too."""
    put_model(
        tmp_path, "wide", architecture="wrn-28-4", dataset="cifar10", shape=(3, 32, 32),
        recipe={"training": "trades"},
    )  # fmt: skip
    catalog.use_library(tmp_path)
    study = {
        "name": "Hydra",
        "dataset": {"name": "cifar10", "limit": 20},
        "model": [{"name": "wide"}],
        "compression": [{"name": "hydra", "density": 0.01}],
        "attack": [{"name": "apgd-dlr", "eps": "8/255"}],
    }
    fill(tmp_path / "lab.db", study)
    with Store(tmp_path / "lab.db", readonly=True) as store:
        yield write.write_report(store, "Hydra", tmp_path / "report", {}).parent
    catalog.use_library(None)


def test_published_figures_stand_beside_the_runs(hydra: Path) -> None:
    text = (hydra / "tables" / "published.csv").read_text("utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    beside = {(row["source"], row["published_attack"]): row for row in rows}
    row = beside["preprint-2025", "apgd-dlr"]  # 8 % of 50 images; of ours 4 of 20 are broken
    assert (row["published_robust_accuracy"], row["published_n"]) == ("0.08", "50")
    assert (row["robust_accuracy"], row["variant"], row["overlap"]) == ("0.8", "hydra 1%", "False")
    page = Page()
    html = (hydra / "index.html").read_text("utf-8")
    page.feed(html)
    assert "published" in page.ids
    assert f"#run-{row['run_id']}" in page.links
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert "8 [3.2, 18.8]" in html
    assert "## Published beside measured" in (hydra / "report.md").read_text("utf-8")


def test_without_published_figures_nothing_is_said_of_them(folder: Path, page: Page) -> None:
    assert "published" not in page.ids
    assert not (folder / "tables" / "published.csv").exists()
    assert "Published" not in (folder / "report.md").read_text("utf-8")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_the_latex_table_is_set_by_tex(folder: Path, tmp_path: Path) -> None:
    table = (folder / "tables" / "results.tex").read_text("utf-8")
    page = ["\\documentclass{article}", "\\usepackage{booktabs}", "\\begin{document}", table,
            "\\end{document}"]  # fmt: skip
    (tmp_path / "page.tex").write_text("\n".join(page), "utf-8")
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "page.pdf").stat().st_size > 1000
