"""What a student minimises: its distance from one or two teachers.

KL(P || Q) = sum P log(P / Q); in every term the first distribution is the target. Teachers are
frozen models in eval mode; nothing is differentiated through them.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from engine.evaluation.model_call import ask
from engine.training.objectives import InnerSearch, Objective

Reduction = Literal["mean", "batchmean"]

_SMALL = 1e-5  # keeps the logarithm of a teacher's probability finite (Zi 2021)


def divergences(
    target: torch.Tensor, logits: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """KL(softmax(target / T) || softmax(logits / T)) of each image; (N, K) twice to (N,).

    Gradient flows into both.
    """
    # As logarithms: the gradient of a target given as probabilities is NaN where one is 0.
    return F.kl_div(
        F.log_softmax(_single(logits) / temperature, dim=1),
        F.log_softmax(_single(target) / temperature, dim=1),
        reduction="none",
        log_target=True,
    ).sum(dim=1)


def _single(logits: torch.Tensor) -> torch.Tensor:
    """In fp32 at least: bf16 would round away what a high temperature leaves of differences."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def predict(teacher: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(N, K) logits without a graph, in fp32 at least."""
    with torch.no_grad():
        return _single(ask(teacher, images))


def trust(teacher: torch.Tensor, labels: torch.Tensor, beta: float) -> torch.Tensor:
    """(softmax(teacher)[y])^beta of each image, without gradient: A_i of Zhu 2022.

    Args:
        teacher: (N, K) logits of the adversarial images.
        labels: (N,) int64.
        beta: 0 trusts fully.
    """
    probabilities = F.softmax(teacher.detach(), dim=1)
    return probabilities.gather(1, labels[:, None]).squeeze(1) ** beta


class Kd(Objective):
    """alpha CE(S(x), y) + (1 - alpha) T^2 / N sum KL(T_T(x) || S_T(x)) (Hinton 2015, section 2).

    Args:
        teacher: images in [0,1] to logits.
        alpha: weight of the labels.
        temperature: of both softmaxes.
    """

    def __init__(self, teacher: nn.Module, alpha: float, temperature: float) -> None:
        self._teacher, self.alpha, self.temperature = teacher, alpha, temperature

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        del generator
        student = ask(model, images)
        apart = divergences(predict(self._teacher, images), student, self.temperature).mean()
        hard = F.cross_entropy(student, labels)
        return self.alpha * hard + (1 - self.alpha) * self.temperature**2 * apart


class Ard(Objective):
    """alpha T^2 KL(T_T(x) || S_T(x~)) + (1 - alpha) CE(S(x), y) (Goldblum 2020).

    The student passes over x~ and then over x, whatever alpha is, as in the authors' code.

    Args:
        threat: x~ maximises the cross-entropy in it.
        teacher: images in [0,1] to logits; sees the clean images.
        alpha: weight of the teacher.
        temperature: of both softmaxes.
        reduction: of the divergence: ``mean`` over images and classes, or over images.
    """

    def __init__(
        self,
        threat: InnerSearch,
        teacher: nn.Module,
        alpha: float,
        temperature: float,
        reduction: Reduction,
    ) -> None:
        self.threat: InnerSearch = threat
        self._teacher = teacher
        self.alpha, self.temperature, self.reduction = alpha, temperature, reduction

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        x = self.threat.pgd(model, images, labels, generator)
        adversarial, clean = ask(model, x), ask(model, images)
        target = predict(self._teacher, images)
        apart = divergences(target, adversarial, self.temperature).mean()
        if self.reduction == "mean":
            apart = apart / target.shape[1]
        hard = F.cross_entropy(clean, labels)
        return self.alpha * self.temperature**2 * apart + (1 - self.alpha) * hard


class Rslad(Objective):
    """s (w M[q (log q' - log S(x~))] + (1 - w) M[q (log q' - log S(x))]) (Zi 2021).

    q = softmax(T(x)), q' = q + 1e-5, and M is the mean over images and classes. The student
    passes over x~ and then over x; no label is used.

    Args:
        threat: x~ maximises KL(q || S(x~)) in it.
        teacher: images in [0,1] to logits; sees the clean images.
        weight: w, of the adversarial images.
        scale: s.
    """

    def __init__(
        self, threat: InnerSearch, teacher: nn.Module, weight: float, scale: float
    ) -> None:
        self.threat: InnerSearch = threat
        self._teacher, self.weight, self.scale = teacher, weight, scale

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        del labels
        target = F.log_softmax(predict(self._teacher, images), dim=1)
        x = self.threat.divergence(model, images, target, generator)
        adversarial, clean = ask(model, x), ask(model, images)
        near = self.weight * _soft_label_loss(target, adversarial)
        return self.scale * (near + (1 - self.weight) * _soft_label_loss(target, clean))


def _soft_label_loss(target: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Mean over images and classes; (N, K) log-probabilities and logits."""
    q = target.exp()
    return (q * (torch.log(q + _SMALL) - F.log_softmax(_single(logits), dim=1))).mean()


class _Introspective(Objective):
    """Trusts the teacher fully until the warm-up is over, then by A_i."""

    def __init__(self, threat: InnerSearch, beta: float, warm_up: int) -> None:
        self.threat: InnerSearch = threat
        self.beta, self.warm_up = beta, warm_up
        self.warm = True

    def begin_epoch(self, model: nn.Module, number: int) -> None:
        """See ``Objective.begin_epoch``."""
        del model
        self.warm = number <= self.warm_up


class Iad1(_Introspective):
    """IAD-I (Zhu 2022), with means over the images of a batch:

    alpha T^2 A_i KL(T_T(x) || S_T(x~)) + alpha (1 - A_i) KL(S(x) || S(x~))
    + (1 - alpha) CE(S(x), y); gradient flows into both sides of the second term.

    Args:
        threat: x~ maximises the cross-entropy in it.
        teacher: images in [0,1] to logits; sees x, and for A_i also x~.
        alpha: weight of teacher and student.
        temperature: of the softmaxes in the first term.
        beta: power in A_i.
        warm_up: epochs with A_i = 1.
        weighted: whether A_i stands in the first term.
        further_passes: pass over x~ once more, and after the warm-up over x, for BatchNorm alone.
    """

    def __init__(
        self,
        threat: InnerSearch,
        teacher: nn.Module,
        alpha: float,
        temperature: float,
        beta: float,
        warm_up: int,
        *,
        weighted: bool = True,
        further_passes: bool = False,
    ) -> None:
        super().__init__(threat, beta, warm_up)
        self._teacher, self.alpha, self.temperature = teacher, alpha, temperature
        self.weighted, self.further_passes = weighted, further_passes

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        x = self.threat.pgd(model, images, labels, generator)
        adversarial = ask(model, x)
        if self.further_passes:
            for again in (x,) if self.warm else (x, images):
                predict(model, again)
        clean = ask(model, images)
        taught = divergences(predict(self._teacher, images), adversarial, self.temperature)
        loss = (1 - self.alpha) * F.cross_entropy(clean, labels)
        factor = self.alpha * self.temperature**2
        if self.warm:
            return loss + factor * taught.mean()
        trusted = trust(predict(self._teacher, x), labels, self.beta)
        own = (1 - trusted) * divergences(clean, adversarial)
        if self.weighted:
            taught = trusted * taught
        return loss + factor * taught.mean() + self.alpha * own.mean()


class Iad2(_Introspective):
    """IAD-II (Zhu 2022), with means over the images of a batch:

    (1 - a - b) CE(S(x~), y) + b T^2 KL(N_T(x~) || S_T(x~))
    + a T^2 [A_i KL(T_T(x~) || S_T(x~)) + (1 - A_i) KL(S(x) || S(x~))]; gradient flows into both
    sides of the last term. In the warm-up A_i = 1 and the student does not pass over x; with
    nothing but warm-up this is AKD2.

    Args:
        threat: x~ maximises the cross-entropy in it.
        teacher: T, adversarially trained, images in [0,1] to logits; sees x~.
        standard: N, trained on clean images; sees x~.
        alpha: a, weight of T.
        alpha_standard: b, weight of N.
        temperature: of the softmaxes of the terms with a teacher.
        beta: power in A_i, which T decides.
        warm_up: epochs with A_i = 1.
    """

    def __init__(
        self,
        threat: InnerSearch,
        teacher: nn.Module,
        standard: nn.Module,
        alpha: float,
        alpha_standard: float,
        temperature: float,
        beta: float,
        warm_up: int,
    ) -> None:
        super().__init__(threat, beta, warm_up)
        self._teacher, self._standard = teacher, standard
        self.alpha, self.alpha_standard = alpha, alpha_standard
        self.temperature = temperature

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        x = self.threat.pgd(model, images, labels, generator)
        adversarial = ask(model, x)
        robust = predict(self._teacher, x)
        taught = divergences(robust, adversarial, self.temperature)
        if not self.warm:
            trusted = trust(robust, labels, self.beta)
            taught = trusted * taught + (1 - trusted) * divergences(ask(model, images), adversarial)
        other = divergences(predict(self._standard, x), adversarial, self.temperature)
        hard = (1 - self.alpha - self.alpha_standard) * F.cross_entropy(adversarial, labels)
        soft = self.alpha * taught.mean() + self.alpha_standard * other.mean()
        return hard + self.temperature**2 * soft


class Akd2(Objective):
    """AKD2 (Chen 2021), with means over the images of a batch:

    (1 - a - b) CE(S(x~), y) + b T^2 H(N_T(x~), S_T(x~)) + a T^2 H(T_T(x~), S_T(x~)), where
    H(P, Q) = - sum P log Q. H is KL plus the entropy of the teacher, which the student cannot
    change: the gradients are those of KL.

    Args:
        threat: x~ maximises the cross-entropy in it.
        teacher: T, adversarially trained, images in [0,1] to logits; sees x~.
        standard: N, trained on clean images; sees x~.
        alpha: a, weight of T.
        alpha_standard: b, weight of N.
        temperature: of the softmaxes of the terms with a teacher.
    """

    def __init__(
        self,
        threat: InnerSearch,
        teacher: nn.Module,
        standard: nn.Module,
        alpha: float,
        alpha_standard: float,
        temperature: float,
    ) -> None:
        self.threat: InnerSearch = threat
        self._teachers = ((alpha, teacher), (alpha_standard, standard))
        self._of_labels, self.temperature = 1 - alpha - alpha_standard, temperature

    def loss(
        self,
        model: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
    ) -> torch.Tensor:
        """See ``Objective.loss``."""
        x = self.threat.pgd(model, images, labels, generator)
        adversarial = ask(model, x)
        loss = self._of_labels * F.cross_entropy(adversarial, labels)
        student = _single(adversarial) / self.temperature
        for weight, teacher in self._teachers:
            target = F.softmax(predict(teacher, x) / self.temperature, dim=1)
            loss = loss + weight * self.temperature**2 * F.cross_entropy(student, target)
        return loss


def warm_up_epochs(share: float, epochs: int) -> int:
    """How many epochs a warm-up takes: those that begin within the share."""
    return math.ceil(share * epochs - 1e-9)
