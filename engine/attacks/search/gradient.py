"""The gradient with respect to the input images."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.attacks.losses.objectives import Objective
from engine.errors import AttackError
from engine.evaluation.guard import arithmetic
from engine.evaluation.model_call import ask
from engine.host.memory import memory_errors

_HINT = "Use a gradient-free attack, or a view with a straight-through path."


def input_gradient(
    view: nn.Module,
    points: Tensor,
    labels: Tensor,
    objective: Objective,
    *,
    bf16: bool = False,
    exact: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, K), objective (N) and its gradient (N, C, H, W), each image on its own.

    Raises:
        AttackError: the output does not depend differentiably on the images.
    """
    leaf = points.detach().clone().requires_grad_()
    with torch.enable_grad(), arithmetic(points.device, bf16=bf16, exact=exact):
        logits = ask(view, leaf).float()
        # Summed, so that no image's gradient depends on its batch.
        loss = objective(logits, labels)
        total = loss.sum()
    if not total.requires_grad:
        raise AttackError("The output of the attack view has no gradient.", _HINT)
    try:
        # The backward of a matrix product would follow an autocast of the caller.
        with arithmetic(points.device, exact=exact), memory_errors():
            (gradient,) = torch.autograd.grad(total, leaf, allow_unused=True)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise  # of the device, not of the view
    except RuntimeError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise AttackError(f"The attack view cannot be differentiated: {reason}.", _HINT) from error
    if gradient is None:
        raise AttackError("The gradient of the attack view does not reach its images.", _HINT)
    return logits.detach(), loss.detach(), gradient
