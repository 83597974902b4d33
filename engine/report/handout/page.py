"""The report as one HTML file that needs no other and no network."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine import __version__
from engine.host import paths
from engine.report.differences import Difference
from engine.report.handout.conclusions import Sentence
from engine.report.handout.contents import Contents, Example, WorstCase, foremost
from engine.report.handout.measured import category_table, defence_table
from engine.report.naming import called, variant
from engine.report.published.rows import published
from engine.report.published.tables import NUMERIC_PAIR, READ_PAIR, pair_columns, reasons_of
from engine.report.repeats import READ_NUMERIC, READ_REPEATS, SPREAD_WORDS, read_lines
from engine.report.tables import flag_ids, of_correct, perturbation, with_interval
from engine.statistics.words import in_percent

_SIDE = 96
"""Of a picture as it is shown; small images are enlarged without smoothing."""


def html(found: Contents, sentences: Sequence[Sentence], figures: Mapping[str, bytes]) -> str:
    """The page.

    Args:
        found: the study.
        sentences: what can be concluded.
        figures: SVG files by title.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.resources() / "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": in_percent, "points": _points}
    return environment.get_template("index.html.jinja").render(
        study=found.study,
        version=__version__,
        runs=[_run(row) for row in found.rows],
        several_seeds=len({row["seed"] for row in found.rows}) > 1,
        worst=[_worst(one) for one in found.worst],
        differences=[_difference(one) for one in found.differences],
        methods=[_difference(one) for one in foremost(found.methods)],
        tested=len(found.methods),
        untested=found.untested,
        can=[one for one in sentences if one.certain],
        cannot=[one for one in sentences if not one.certain],
        repeats=_repeats(found),
        categories=category_table(found.changes),
        defences=defence_table(found.defended),
        published=_published(found),
        figures={title: _data("image/svg+xml", content) for title, content in figures.items()},
        examples={
            row["run_id"]: (f"{variant(row)}, {row['attack']}", list(map(_pictures, shown)))
            for row in found.finished
            if (shown := found.examples.get(row["run_id"]))
        },
        environments=_environments(found),
        keys=found.keys,
    )


def _repeats(found: Contents) -> dict[str, Any]:
    """Heads, and rows of cells with the runs of each."""
    lines = read_lines(found.repeats)
    return {
        "words": SPREAD_WORDS,
        "heads": [(name, name in READ_NUMERIC) for name in READ_REPEATS[:-1]],
        "lines": [(one.run_ids, line[:-1]) for one, line in zip(found.repeats, lines, strict=True)],
    }


def _published(found: Contents) -> dict[str, Any]:
    """Heads, rows of cells with the run of each, and what is to be said of them; or nothing."""
    told = [pair_columns(pair, published()) for pair in found.published]
    return {
        "heads": [(name, name in NUMERIC_PAIR) for name in READ_PAIR],
        "lines": [(row["run_id"], [cell(row) for cell in READ_PAIR.values()]) for row in told],
        "reasons": list(reasons_of(told)),
    }


def _worst(case: WorstCase) -> dict[str, Any]:
    row = case.strongest
    return {"variant": variant(row), "case": case, "mean": perturbation(row)}


def _difference(one: Difference) -> dict[str, Any]:
    return {"variant": variant(one.row), "other": variant(one.base), "one": one}


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"


def _run(row: Any) -> dict[str, Any]:
    return {
        **row,
        "title": called(row),
        "robust": with_interval(row),
        "correct": of_correct(row),
        "mean": perturbation(row),
        "flag_ids": flag_ids(row),
    }


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _pictures(one: Example) -> dict[str, Any]:
    change = one.adversarial - one.clean
    largest = float(np.abs(change).max()) or 1.0
    return {
        "verdict": one.verdict,
        "clean": _png(one.clean),
        "adversarial": _png(one.adversarial),
        "change": _png(change / (2 * largest) + 0.5),
    }


def _png(image: NDArray[np.floating[Any]]) -> str:
    """An image of (C, H, W) in [0,1] as the address of a picture."""
    pixels = (np.clip(image, 0, 1) * 255).round().astype(np.uint8).transpose(1, 2, 0)
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    times = max(1, _SIDE // max(picture.size))
    size = picture.width * times, picture.height * times
    stream = io.BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(stream, "PNG")
    return _data("image/png", stream.getvalue())


def _environments(found: Contents) -> list[tuple[dict[str, str], list[int]]]:
    """Each environment once, with the runs that had it."""
    known: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for run_id, facts in found.environments.items():
        flat = tuple((name, str(value)) for name, value in sorted(facts.items()))
        known.setdefault(flat, []).append(run_id)
    return [(dict(facts), runs) for facts, runs in known.items()]
