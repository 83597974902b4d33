"""The doctor's report and its errors, as one reads them in the window; no widgets."""

from __future__ import annotations

import re
from dataclasses import dataclass

from engine.importing.report import Report, Trial

Fact = tuple[str, str, str]

FIELDS = {
    "density": "Density k",
    "arch": "Architecture",
    "name": "Name",
    "mean": "Mean",
    "std": "Std",
    "part": "Part",
    "candidate": "Candidate",
    "dataset": "Images",
    "folder": "Images",
    "npz": "Images",
    "root": "Images",
    "resize": "resize",
    "crop": "crop",
    "class": "Python file",
    "args": "Arguments",
    "write-class": "Python file",
    "trust-code": "the confirmation that the file may run code",
    "keep": "Keep anyway",
}
"""What the options of the command line are called in the window."""

LEVELS = {"healthy": "ok", "doubtful": "warning", "not healthy": "danger"}
"""The sign of a verdict (``resources/icons/light-*``)."""

_OPTION = re.compile(rf"--({'|'.join(FIELDS)})\b")
_CLASS = re.compile(
    r"crumple import .+? --class net\.py:Net --trust-code "
    r"\(--write-class net\.py writes that file to fill in\)"
)
_MOST_LAYERS = 200


def in_window(text: str) -> str:
    """A sentence of the command line with the names that things have in the window."""
    text = re.sub(r"(?:Give )?--dataset, --folder or --npz", "Choose them below", text)
    text = _CLASS.sub("choose it as Python file (Write net.py… makes one to fill in)", text)
    text = text.replace("choose by --candidate", "choose one below")
    text = text.replace("confirm it by --candidate", "confirm it below")
    return _OPTION.sub(lambda match: FIELDS[match[1]], text)


def facts(report: Report) -> list[Fact]:
    """Format, architecture, input, what was left out, and the notes."""
    sides = "x".join(map(str, report.shape[1:]))
    colours = {1: "grey", 3: "colour"}.get(report.shape[0], f"{report.shape[0]} channels")
    fitting = f"as many as {', '.join(report.datasets)} have" if report.datasets else ""
    rows = [
        ("File", report.file, report.sha256 and f"SHA-256 {report.sha256}"),
        ("Format", report.format, ""),
        ("Architecture", architecture(report), f"{report.parameters:,} parameters"),
        *([("Deduced", report.deduced, "")] if report.deduced else []),
        ("Input", f"{sides} {colours}, values in [0,1]", ""),
        ("Classes", f"{report.classes:,}", fitting),
        ("Normalisation", normalisation(report), ""),
        ("Density", density(report), ""),
        *(("Left out", line, "") for line in report.dropped),
        *(("Note", in_window(line), "") for line in report.notes),
    ]
    if not report.compressible:
        rows.append(("Limit", "It can be attacked, but not compressed.", ""))
    return rows


def architecture(report: Report) -> str:
    """Its name; of what was read from shapes, the layers."""
    return report.layout if report.deduced else report.architecture


def normalisation(report: Report) -> str:
    """Which, with its numbers."""
    scaling = report.normalisation
    if scaling is None:
        return "none: the network takes values in [0,1]"
    mean, std = (
        " ".join(f"{number:.4g}" for number in part) for part in (scaling.mean, scaling.std)
    )
    return f"{scaling.label}: mean {mean}, std {std}"


def density(report: Report) -> str:
    """How many weights are not zero."""
    if report.kept is not None:
        return (
            f"{report.density:.1%} of the weights are not zero; the masks of each layer keep "
            f"k = {report.kept:g}"
        )
    if report.density > 0.999:
        return "dense: no weights were removed"
    return f"{report.density:.1%} of the weights are not zero"


def accuracy(report: Report) -> str:
    """Clean accuracy with its interval and on what."""
    low, high = report.interval
    return (
        f"Clean accuracy {report.clean_accuracy:.1%}, 95 % interval {low:.1%} to {high:.1%}, "
        f"on {report.images:,} images of {report.dataset}"
    )


def in_two(digest: str) -> str:
    """A long hash in two lines, so that a narrow panel shows all of it."""
    half = len(digest) // 2
    return f"{digest[:half]}\n{digest[half:]}" if half else ""


@dataclass(frozen=True)
class TrialRow:
    """One line of the table of what was tried.

    Attributes:
        gap: points of accuracy beside the chosen one, empty for that itself.
    """

    label: str
    accuracy: str
    loss: str
    gap: str
    chosen: bool


def trial_rows(trials: tuple[Trial, ...]) -> list[TrialRow]:
    """Best first; the chosen one is marked."""
    chosen = next((trial for trial in trials if trial.chosen), None)
    rows = []
    for trial in sorted(trials, key=lambda tried: (-tried.accuracy, tried.loss)):
        gap = "" if chosen is None or trial.chosen else _points(trial.accuracy - chosen.accuracy)
        rows.append(
            TrialRow(trial.label, f"{trial.accuracy:.1%}", f"{trial.loss:.3g}", gap, trial.chosen)
        )
    return rows


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points" if abs(share) >= 5e-4 else "equal"


def guess_rows(report: Report) -> list[tuple[str, str, str, str]]:
    """Number, words and accuracy of each network that the shapes allow, and which was taken."""
    return [
        (str(one.number), one.words, f"{one.accuracy:.1%}", "chosen" if one.chosen else "")
        for one in report.guesses
    ]


def layer_rows(report: Report) -> list[tuple[str, str, str]]:
    """Name, weights and density of each layer, sparsest first; empty for a dense network."""
    if report.density > 0.999 and report.kept is None:
        return []
    layers = sorted(report.layers, key=lambda layer: layer.density)[:_MOST_LAYERS]
    return [(layer.name, f"{layer.weights:,}", f"{layer.density:.1%}") for layer in layers]
