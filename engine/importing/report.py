"""What the checkpoint doctor says; torch-free."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Health = Literal["healthy", "doubtful", "not healthy"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class Trial(_Record):
    """One setting, tried on a few hundred images.

    Attributes:
        label: in words, for example ``ImageNet constants``.
        accuracy: share classified correctly.
        loss: mean cross-entropy.
        images: how many.
        chosen: whether the model was stored with it.
    """

    label: str
    accuracy: float
    loss: float
    images: int
    chosen: bool = False


class LayerDensity(_Record):
    """One convolution or linear layer.

    Attributes:
        name: within the normalisation.
        density: share of its weights that are not zero.
        masked: whether a mask of the file holds those that are.
    """

    name: str
    weights: int
    density: float
    masked: bool = False


class Scaling(_Record):
    """Mean and standard deviation per channel."""

    label: str
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Guess(_Record):
    """One of the networks that tensors allow, on the user's images.

    Attributes:
        number: by which it is chosen (``--candidate``).
        words: what of it no state dict tells.
        accuracy: share classified correctly.
        images: of how many.
        chosen: whether it is the one that was measured.
    """

    number: int
    words: str
    accuracy: float
    images: int
    chosen: bool = False


class Report(_Record):
    """The whole examination.

    Attributes:
        file: name without the folder, or the published name.
        sha256: of the file; empty for weights that a package downloaded.
        format: container, wrapper and prefixes in words.
        architecture: name for ``engine.models.build``, or ``exported``.
        layout: whose names of tensors it has.
        shape: (C, H, W) of one image.
        datasets: ids that the number of classes would fit.
        dataset: label of the images it was measured on.
        density: share of the weights of all layers that are not zero.
        masked_layers: how many layers have a mask of the file, whose zeros every recipe keeps.
        masked_density: share of the weights of these that are not zero; None without any.
        kept: k of Hydra, the share that each layer's mask keeps; None without scores.
        normalisation: None if the network takes [0,1].
        dropped: tensors that were left out, and why.
        notes: everything else worth knowing.
        clean_accuracy: share of ``images`` classified correctly.
        interval: its 95 % Wilson interval.
        deduced: what images told of a chain of layers: its activations, pooling, padding ...
        guesses: the networks that it was chosen from, most accurate first.
        verdict: one sentence.
        model: id in the library; empty if it was not stored.
        doubted: the option of ``crumple import`` that would settle the doubt of the verdict; empty
            without one. It is no part of the JSON.
    """

    file: str
    sha256: str
    format: str
    architecture: str
    layout: str
    shape: tuple[int, int, int]
    classes: int
    parameters: int
    datasets: tuple[str, ...]
    dataset: str
    density: float
    layers: tuple[LayerDensity, ...]
    masked_layers: int = 0
    masked_density: float | None = None
    kept: float | None
    density_trials: tuple[Trial, ...]
    normalisation: Scaling | None
    normalisation_trials: tuple[Trial, ...]
    dropped: tuple[str, ...]
    notes: tuple[str, ...]
    clean_accuracy: float
    interval: tuple[float, float]
    images: int
    health: Health
    verdict: str
    compressible: bool
    deduced: str = ""
    guesses: tuple[Guess, ...] = ()
    model: str = ""
    doubted: str = Field(default="", exclude=True)


def report_text(report: Report) -> str:
    """The report for reading: a dozen lines and the verdict."""
    size = "x".join(map(str, report.shape))
    fitting = f" (as many as {', '.join(report.datasets)})" if report.datasets else ""
    lines = [
        ("file", report.file),
        ("format", report.format),
        ("architecture", f"{report.architecture}, {report.parameters:,} parameters"),
        ("input", f"{size} in [0,1], {report.classes} classes{fitting}"),
        *_deduced_lines(report),
        *_density_lines(report),
        *_normalisation_lines(report),
        *(("left out", line) for line in report.dropped),
        *(("note", line) for line in report.notes),
        ("clean", _accuracy(report)),
        ("verdict", report.verdict),
        ("stored", report.model or "no"),
    ]
    return "".join(f"{name:<14}{text}\n" for name, text in lines)


def _accuracy(report: Report) -> str:
    low, high = report.interval
    return (
        f"{report.clean_accuracy:.1%} [{low:.1%}, {high:.1%}] of {report.images} images of "
        f"{report.dataset}"
    )


def _deduced_lines(report: Report) -> list[tuple[str, str]]:
    lines = [("deduced", report.deduced)] if report.deduced else []
    for one in report.guesses:
        mark = "*" if one.chosen else " "
        text = f"{mark} {one.number:>3}  {one.accuracy:6.1%} of {one.images}  {one.words}"
        lines.append(("  candidate", text))
    return lines


def _density_lines(report: Report) -> list[tuple[str, str]]:
    if report.density > 0.999 and report.kept is None:
        return []
    text = f"{report.density:.2%} of the weights are not zero"
    if report.kept is not None:
        text += f"; each layer keeps k = {report.kept:g} of its weights"
    sparsest = sorted(report.layers, key=lambda layer: layer.density)[:3]
    layers = ", ".join(f"{layer.name} {layer.density:.1%}" for layer in sparsest)
    return [
        ("density", text),
        ("sparsest", layers),
        *(("  tried", line) for line in _trial_lines(report.density_trials)),
    ]


def _normalisation_lines(report: Report) -> list[tuple[str, str]]:
    found = report.normalisation
    text = "none: it takes [0,1]"
    if found is not None:
        mean, std = (" ".join(f"{one:.4g}" for one in part) for part in (found.mean, found.std))
        text = f"{found.label}: mean {mean}, std {std}"
    trials = _trial_lines(report.normalisation_trials)
    return [("normalisation", text), *(("  tried", line) for line in trials)]


def _trial_lines(trials: tuple[Trial, ...]) -> list[str]:
    counts = len({one.images for one in trials})
    return [
        f"{'*' if one.chosen else ' '} {one.label:<22} {one.accuracy:6.1%}  loss {one.loss:.3f}"
        f"{f'  {one.images} images' if counts > 1 else ''}"
        for one in trials
    ]
