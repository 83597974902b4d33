"""The attack view: an exact, differentiable twin of a deployed model, made to be searched."""

from __future__ import annotations

from collections import Counter

import torch
from torch import fx, nn

from engine.attacks.search.batching import in_chunks
from engine.compression.layers import replace_module
from engine.compression.parts.base import FrontPart
from engine.errors import ModelError
from engine.evaluation.guard import arithmetic, forked_rng
from engine.evaluation.model_call import ask

TOLERANCE = 1e-5
"""Largest difference of a logit, relative to the largest logit where that exceeds 1."""


def fold_batch_norm(model: nn.Module) -> None:
    """Merge each BatchNorm into the convolution before it, in place; eval mode only.

    A pair is merged only if the graph shows that nothing else reads the convolution. A model
    whose graph cannot be traced stays as it is: slower, equally exact.
    """
    for conv_path, norm_path in norms_behind(model):
        conv, norm = model.get_submodule(conv_path), model.get_submodule(norm_path)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        _fold(conv, norm)
        replace_module(model, norm_path, nn.Identity())


class _Tracer(fx.Tracer):
    """Does not look into what stands in front of a network: nothing there can be folded."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, FrontPart) or super().is_leaf_module(m, module_qualified_name)


def norms_behind(model: nn.Module) -> list[tuple[str, str]]:
    """The names of each convolution that nothing but one BatchNorm reads, and of that.

    Empty if the graph of the model cannot be traced. Such a BatchNorm has running statistics.
    """
    try:
        graph = _Tracer().trace(model)
    except Exception:  # noqa: BLE001  what tracing refuses, for whatever reason, is not folded
        return []
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    found = []
    for node in graph.nodes:
        if node.op != "call_module" or not _is(model, node, nn.BatchNorm2d):
            continue
        if model.get_submodule(str(node.target)).running_mean is None:
            continue  # the statistics of each batch cannot be merged
        source = node.args[0]
        if (
            isinstance(source, fx.Node)
            and source.op == "call_module"
            and _is(model, source, nn.Conv2d)
            and len(source.users) == calls[source.target] == calls[node.target] == 1
        ):
            found.append((str(source.target), str(node.target)))
    return found


def _is(model: nn.Module, node: fx.Node, kind: type[nn.Module]) -> bool:
    return isinstance(model.get_submodule(str(node.target)), kind)


def _fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    """y = g (Wx + b - m) / sqrt(v + e) + h as one convolution, computed in double precision."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    ones = torch.ones_like(mean)
    gain = (ones if norm.weight is None else norm.weight).detach().double()
    shift = (0 * ones if norm.bias is None else norm.bias).detach().double()
    bias = (0 * ones if conv.bias is None else conv.bias).detach().double()
    factor = gain / torch.sqrt(variance.double() + norm.eps)
    weight = conv.weight.detach().double() * factor[:, None, None, None]
    conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=False)
    folded = (bias - mean.double()) * factor + shift
    conv.bias = nn.Parameter(folded.to(conv.weight.dtype), requires_grad=False)


def _logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with forked_rng(0):  # a random model draws the same for both
        return torch.cat(in_chunks(model, len(images), lambda part: ask(model, images[part])))


def check_agreement(deployed: nn.Module, view: nn.Module, images: torch.Tensor) -> float:
    """The largest difference of any logit between a deployed model and its attack view.

    Raises:
        ModelError: it exceeds 1e-5 times the largest logit (or 1, if that is larger), so that
            examples found on the view may not hold.
    """
    with torch.no_grad(), arithmetic(images.device, exact=True):
        expected, found = _logits(deployed, images), _logits(view, images)
    # What is not finite in both is no difference between them; the gate flags it.
    both = ~(expected.isfinite() | found.isfinite())
    difference = float((expected - found).masked_fill(both, 0.0).abs().max())
    largest = float(expected.masked_fill(~expected.isfinite(), 0.0).abs().max())
    allowed = TOLERANCE * max(1.0, largest)
    if not difference <= allowed:
        raise ModelError(
            f"The attack view differs from the deployed model by {difference:.2g} in a logit; "
            f"at most {allowed:.2g} is allowed.",
            "Please report this together with the study file.",
        )
    return difference
