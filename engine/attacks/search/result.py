"""What an attack reports: one point per step while it runs, one result at the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.attacks.search.notes import Note


@dataclass(frozen=True)
class StepPoint:
    """The state of an attack after one step; step 0 is the clean images.

    Attributes:
        step: position on the attack's step axis; restarts and passes continue it.
        total: images in the call.
        broken: images broken so far, clean mistakes included.
        active: images still under attack.
        loss: mean cross-entropy of the images that took part in this step, 0 if none.
        margin: mean of the label's logit minus the largest other one, same images.
        step_size: length of the step, in the norm of the attack; 0 if unknown.
        forwards: image forwards so far, over all images of the call.
        backwards: image backwards so far, over all images of the call.
        seconds: since the start of the call.
        part: which attack of several in a row is at work; empty if there is only one.
    """

    step: int
    total: int
    broken: int
    active: int
    loss: float
    margin: float
    step_size: float
    forwards: int
    backwards: int
    seconds: float
    part: str = ""


Observer = Callable[[StepPoint], None]


@dataclass(frozen=True, eq=False)
class AttackResult:
    """The outcome of an attack on N images; all tensors lie on the device of the images.

    Attributes:
        adversarial: (N, C, H, W) float32 in [0, 1], inside the ball; the clean image where it
            was misclassified anyway or where the attack returned something invalid.
        broken: (N) bool, judged in fp32 on the deployed model.
        forwards: (N) int64, every forward an image took part in, verdicts included.
        backwards: (N) int64.
        broken_at_step: (N) int64, -1 never, 0 misclassified clean.
        clean_predictions: (N) int64, -1 where the output is not finite.
        adversarial_predictions: (N) int64, likewise.
        clean_confidence: (N) float32, softmax probability of the predicted class.
        adversarial_confidence: (N) float32, likewise.
        l2: (N) float32, Euclidean norm of the perturbation.
        linf: (N) float32, its largest absolute entry.
        norm: of the attack: Linf, L2 or "" (none).
        seconds: wall time of the call.
        precision: of the search, fp32 or bf16; verdicts are always fp32.
        remarks: what went wrong or was ignored; ``notes`` are the sentences.
        curve: the points given to the observer, with confirmed counts.
        random: the model is, so that each verdict is one draw that no search has seen.
    """

    adversarial: Tensor
    broken: Tensor
    forwards: Tensor
    backwards: Tensor
    broken_at_step: Tensor
    clean_predictions: Tensor
    adversarial_predictions: Tensor
    clean_confidence: Tensor
    adversarial_confidence: Tensor
    l2: Tensor
    linf: Tensor
    norm: str
    seconds: float
    precision: str
    remarks: tuple[Note, ...]
    curve: tuple[StepPoint, ...]
    random: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what went wrong or was ignored."""
        return tuple(map(str, self.remarks))

    @property
    def distance(self) -> Tensor:
        """(N) float32: how far the example is, in the attack's norm (L2 if it has none).

        0 where misclassified clean, inf where not broken. For a minimum-norm attack this is its
        result; for an attack in a ball it is only the length of the example that was found.
        """
        length = self.linf if self.norm == "Linf" else self.l2
        return torch.where(self.broken, length, torch.inf)
