"""Run one attack on one batch of images, and judge it honestly."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from engine.attacks.base import Attack
from engine.attacks.geometry.ball import Threat, norms
from engine.attacks.losses.logit_scale import span
from engine.attacks.registry import create
from engine.attacks.search.notes import Note
from engine.attacks.search.passes import passes
from engine.attacks.search.result import AttackResult, Observer, StepPoint
from engine.attacks.search.rounding import rounds
from engine.attacks.search.search import Search
from engine.attacks.search.telemetry import broken_by
from engine.errors import AttackError
from engine.evaluation.guard import device_of, preserved
from engine.events import ShouldStop
from engine.host.device import fast_bf16
from engine.specs.choices import AttackSpec, make_attack


def run_attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: AttackSpec | Mapping[str, Any] | str,
    *,
    view: nn.Module | None = None,
    precision: str = "auto",
    seed: int = 0,
    observer: Observer | None = None,
    should_stop: ShouldStop | None = None,
) -> AttackResult:
    """Attack a batch of images; verdicts are given in fp32 on ``model``.

    Images that are misclassified clean count as broken at step 0 and are not attacked. An
    example counts if it is misclassified again in another batch (``Confirmation``). Of a random
    model the point that the search returns is judged on a draw of its own seed, whatever the
    search saw, so the mean over the images is the expected robust accuracy. The
    arguments are not modified; global random states, every submodule's mode and every
    parameter's ``requires_grad`` come back as they were, also after an exception.

    Args:
        model: the deployed model, from (N, C, H, W) images in [0, 1] to (N, K) logits.
        images: (N, C, H, W) float32 in [0, 1]; N may be 0.
        labels: (N) int64.
        attack: a spec, ``{"name": ..., parameters}`` or the id of an attack.
        view: differentiable twin of the model to search on; the model itself if None.
        precision: of the search: fp32, or bf16 with a finish in fp32 on the survivors; auto is
            bf16 on GPUs with units for it, else fp32. Minimum-norm attacks, random search and
            foreign attacks always search in fp32, and a model that rounds, for example its
            activations, is searched in exact fp32.
        seed: of all randomness; each image gets its own noise, whatever its batch.
        observer: called with a ``StepPoint`` for every step; of steps that follow each other
            fast, with several at once, about 20 times a second.
        should_stop: polled between steps.

    Raises:
        SpecError: the attack does not exist or a parameter is out of bounds.
        AttackError: images, labels or the model's output are unfit, or there is no gradient.
        Cancelled: ``should_stop`` returned True.
    """
    spec = make_attack(attack)
    return run_method(
        model,
        images,
        labels,
        create(spec),
        Threat(spec.norm, spec.eps),
        view=view,
        precision=precision,
        exact="fp32" in spec.traits,
        seed=seed,
        observer=observer,
        should_stop=should_stop,
    )


def run_method(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    method: Attack[Any],
    threat: Threat,
    *,
    view: nn.Module | None = None,
    precision: str = "auto",
    exact: bool = False,
    seed: int = 0,
    observer: Observer | None = None,
    should_stop: ShouldStop | None = None,
) -> AttackResult:
    """As ``run_attack``, with a search that is made already.

    Args:
        model, images, labels: as there, and so what is not named here.
        method: looks for examples.
        threat: where they may lie.
        exact: it always searches in fp32.
    """
    _check_inputs(images, labels)
    view = model if view is None else view
    device = device_of(model, images.device)
    used = _precision(precision, device, always=exact)
    if not len(images):
        return _empty(images, labels, threat.norm, used)
    with preserved(model, view, seed=seed):
        given = images.detach().clone().to(device)
        # On a CPU in fp32 there is nothing to choose.
        rounding = (used == "bf16" or device.type == "cuda") and rounds(view, given[:1])
        reduced, used = used == "bf16" and rounding, "fp32" if rounding else used
        search = Search(
            model,
            view,
            given,
            labels.detach().clone().to(device),
            threat,
            exact=rounding,
            seed=seed,
            observer=observer,
            should_stop=should_stop,
        )
        if reduced:
            search.notes.append(Note("rounds"))
        elif precision == "bf16" and used == "fp32":
            search.notes.append(Note("fp32"))
        for pass_ in passes(bf16=used == "bf16"):
            if len(search.survivors()):
                method.run(search, pass_)
        search.finish()
        search.report()
        return _result(search, used, images.device)


def _precision(asked: str, device: torch.device, *, always: bool) -> str:
    if asked not in ("auto", "fp32", "bf16"):
        raise AttackError(f"precision is {asked!r} but must be auto, fp32 or bf16.")
    wanted = asked == "bf16" or (asked == "auto" and fast_bf16(device))
    return "bf16" if wanted and not always else "fp32"


def _check_inputs(images: Tensor, labels: Tensor) -> None:
    if images.dim() != 4 or images.dtype != torch.float32:
        raise AttackError(
            f"images are {images.dtype} of shape {tuple(images.shape)} but must be float32 "
            "of shape (N, C, H, W)."
        )
    if labels.dim() != 1 or labels.dtype != torch.int64 or len(labels) != len(images):
        raise AttackError(
            f"labels are {labels.dtype} of shape {tuple(labels.shape)} but must be int64 "
            f"of shape ({len(images)},)."
        )
    if not images.numel():
        return
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):
        raise AttackError(
            f"images lie in [{low:.4g}, {high:.4g}] but must be finite and in [0, 1].",
            "Scale the pixels to [0, 1] and leave the normalisation to the model.",
        )
    if int(labels.min()) < 0:
        raise AttackError(f"labels contain {int(labels.min())} but must not be negative.")


def _result(search: Search, precision: str, device: torch.device) -> AttackResult:
    verdicts, queries, clean = search.verdicts, search.queries, search.clean
    l2, linf = norms(search.images, verdicts.best)
    return AttackResult(
        adversarial=verdicts.best.to(device),
        broken=verdicts.broken.to(device),
        forwards=queries.forwards.to(device),
        backwards=queries.backwards.to(device),
        broken_at_step=verdicts.broken_at_step.to(device),
        clean_predictions=clean.predictions.to(device),
        adversarial_predictions=verdicts.predictions.to(device),
        clean_confidence=clean.confidence.to(device),
        adversarial_confidence=verdicts.confidence.to(device),
        l2=l2.float().to(device),
        linf=linf.float().to(device),
        norm=search.threat.norm,
        seconds=search.telemetry.seconds,
        precision=precision,
        remarks=_remarks(search),
        curve=_confirmed(search),
        random=search.random,
    )


def _confirmed(search: Search) -> tuple[StepPoint, ...]:
    """The curve with the final counts: verdicts can come after the step they belong to."""
    curve = search.telemetry.curve
    counts = broken_by(search.verdicts.broken_at_step, [point.step for point in curve]).tolist()
    total = len(search.labels)
    return tuple(
        dataclasses.replace(point, broken=broken, active=total - broken)
        for point, broken in zip(curve, counts, strict=True)
    )


def _remarks(search: Search) -> tuple[Note, ...]:
    verdicts, found = search.verdicts, list(search.notes)
    unbroken = ~verdicts.broken
    counts = {
        "undefined-output": search.clean.predictions < 0,
        "failure": (verdicts.invalid > 0) & unbroken,
        "edge": (verdicts.refused > 0) & unbroken,
        "blind": search.queries.blind > 0,
    }
    counted = {kind: Note(kind, int(which.sum())) for kind, which in counts.items()}
    found += [counted["undefined-output"], counted["failure"]]
    # Of a random model other forwards refuse what they like.
    found.append(Note("random-model") if search.random else counted["edge"])
    if search.rescaled:
        median = float(span(search.clean.logits).median())
        found.append(Note("rescaled", words=f"{median:.3g}"))
    found.append(counted["blind"])
    return tuple(note for note in found if note.count or note.kind not in counts)


def _empty(images: Tensor, labels: Tensor, norm: str, precision: str) -> AttackResult:
    whole, real = labels.detach().clone(), torch.zeros(0, device=images.device)
    return AttackResult(
        adversarial=images.detach().clone(),
        broken=whole.bool(),
        forwards=whole,
        backwards=whole.clone(),
        broken_at_step=whole.clone(),
        clean_predictions=whole.clone(),
        adversarial_predictions=whole.clone(),
        clean_confidence=real,
        adversarial_confidence=real.clone(),
        l2=real.clone(),
        linf=real.clone(),
        norm=norm,
        seconds=0.0,
        precision=precision,
        remarks=(),
        curve=(),
    )
