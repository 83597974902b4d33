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
from engine.attacks.search.result import AttackResult, Observer, StepPoint
from engine.attacks.search.rounding import rounds
from engine.attacks.search.search import Search
from engine.attacks.search.telemetry import broken_by
from engine.errors import AttackError
from engine.evaluation.guard import device_of, preserved
from engine.events import ShouldStop
from engine.host.device import fast_bf16
from engine.specs.study import AttackSpec, make_attack


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
    method = create(spec)
    _check_inputs(images, labels)
    view = model if view is None else view
    device = device_of(model, images.device)
    used = _precision(precision, device, spec)
    if not len(images):
        return _empty(images, labels, spec.norm, used)
    with preserved(model, view, seed=seed):
        given = images.detach().clone().to(device)
        # On a CPU in fp32 there is nothing to choose.
        exact = (used == "bf16" or device.type == "cuda") and rounds(view, given[:1])
        reduced, used = used == "bf16" and exact, "fp32" if exact else used
        search = Search(
            model,
            view,
            given,
            labels.detach().clone().to(device),
            Threat(spec.norm, spec.eps),
            exact=exact,
            seed=seed,
            observer=observer,
            should_stop=should_stop,
        )
        if reduced:
            search.notes.append(
                "Searched in exact fp32: the model rounds, and bf16 would move its steps."
            )
        elif precision == "bf16" and used == "fp32":
            search.notes.append(
                "Searched in fp32: this attack looks for what bf16 cannot tell apart."
            )
        _passes(method, search, bf16=used == "bf16")
        search.finish()
        search.report()
        return _result(search, used, images.device)


def _passes(method: Attack[Any], search: Search, *, bf16: bool) -> None:
    for search.bf16 in (True, False) if bf16 else (False,):
        search.finishing = bf16 and not search.bf16
        if len(search.survivors()):
            method.run(search)


def _precision(asked: str, device: torch.device, spec: AttackSpec) -> str:
    if asked not in ("auto", "fp32", "bf16"):
        raise AttackError(f"precision is {asked!r} but must be auto, fp32 or bf16.")
    wanted = asked == "bf16" or (asked == "auto" and fast_bf16(device))
    return "bf16" if wanted and "fp32" not in spec.traits else "fp32"


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
    l2, linf = norms(search.images, search.best)
    return AttackResult(
        adversarial=search.best.to(device),
        broken=search.broken.to(device),
        forwards=search.forwards.to(device),
        backwards=search.backwards.to(device),
        broken_at_step=search.broken_at_step.to(device),
        clean_predictions=search.clean.predictions.to(device),
        adversarial_predictions=search.predictions.to(device),
        clean_confidence=search.clean.confidence.to(device),
        adversarial_confidence=search.confidence.to(device),
        l2=l2.float().to(device),
        linf=linf.float().to(device),
        norm=search.threat.norm,
        seconds=search.telemetry.seconds,
        precision=precision,
        notes=_notes(search),
        curve=_confirmed(search),
        random=search.random,
    )


def _confirmed(search: Search) -> tuple[StepPoint, ...]:
    """The curve with the final counts: verdicts can come after the step they belong to."""
    curve = search.telemetry.curve
    counts = broken_by(search.broken_at_step, [point.step for point in curve]).tolist()
    total = len(search.labels)
    return tuple(
        dataclasses.replace(point, broken=broken, active=total - broken)
        for point, broken in zip(curve, counts, strict=True)
    )


def _notes(search: Search) -> tuple[str, ...]:
    notes = list(search.notes)
    undefined = int((search.clean.predictions < 0).sum())
    failed = int(((search.invalid > 0) & ~search.broken).sum())
    blind = int((search.blind > 0).sum())
    if undefined:
        notes.append(
            f"The output for {undefined} clean images is not finite; they count as broken."
        )
    if failed:
        notes.append(
            f"Attack failure on {failed} images: the example or the model's output on it was not "
            "finite, or the example left the box or the ball; not counted as broken."
        )
    edge = int(((search.refused > 0) & ~search.broken).sum())
    if search.random:
        notes.append(
            "The model is random: of each image the point that the search returned was judged "
            "once more, on a draw that no search has seen, and that alone counts."
        )
    elif edge:
        notes.append(
            f"On {edge} images a point on the boundary itself was misclassified in one batch and "
            "not in another; such points are no examples."
        )
    if search.rescaled:
        spans = span(search.clean.logits)
        notes.append(
            f"The logits span {float(spans.median()):.3g} (median), which is unusual: where the "
            "attack climbs the cross-entropy it did so on logits of a usual size."
        )
    if blind:
        notes.append(f"The gradient was not finite at some step of {blind} images; taken as zero.")
    return tuple(notes)


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
        notes=(),
        curve=(),
    )
