"""Running a user's file and making its network one that torch.export can follow."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm
from torch.overrides import TorchFunctionMode

from engine.errors import ModelError
from engine.evaluation.guard import default_float32

BAKED = (
    "Weights that were computed in each forward (weight or spectral normalisation, masks of "
    "torch.nn.utils.prune) became plain ones, with the same outputs."
)


def make(path: Path, function: str) -> nn.Module:
    """The network that a function in a file returns, in eval mode.

    The file can import what lies beside it. What it prints goes to standard error, and what it
    sets for all of torch (the type of new tensors, gradients off) is set back.

    Raises:
        ModelError: the code fails, or it returns something else.
    """
    spec = importlib.util.spec_from_file_location(f"crumple_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        with _as_before(), _beside(path), contextlib.redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
            made = getattr(module, function)()
    except SystemExit as error:
        raise ModelError(
            f"{path.name} ends the program when it is loaded ({error.code or 'exit'}).",
            'Keep what belongs to its own command line under: if __name__ == "__main__".',
        ) from None
    except AttributeError as error:
        raise ModelError(f"{path.name}:{function} fails: {error}.") from None
    except Exception as error:
        raise ModelError(
            f"{path.name}:{function} fails: {type(error).__name__}: {error}."
        ) from error
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"{path.name}:{function} returns a {type(made).__name__} instead of a torch.nn.Module."
        )
    return made.eval()


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    with default_float32(), torch.enable_grad():
        yield


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[None]:
    """Modules that lie beside a file are found, after all others."""
    folder = str(path.resolve().parent)
    sys.path.append(folder)
    try:
        yield
    finally:
        if folder in sys.path:  # the file may have changed the list
            sys.path.reverse()
            sys.path.remove(folder)
            sys.path.reverse()


def bake(network: nn.Module) -> tuple[nn.Module, list[str]]:
    """The network with plain weights where they were computed anew in each forward.

    Args:
        network: in eval mode; stays as it is.

    Returns:
        It or a copy, and what was done.
    """
    if not any(_computed(part) for part in network.modules()):
        return network, []
    plain = copy.deepcopy(network)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        for part in plain.modules():
            _make_plain(part)
    return plain.eval(), [BAKED]


def _hooks(part: nn.Module) -> list[Any]:
    kinds = (WeightNorm, SpectralNorm, prune.BasePruningMethod)
    return [hook for hook in part._forward_pre_hooks.values() if isinstance(hook, kinds)]


def _computed(part: nn.Module) -> bool:
    return parametrize.is_parametrized(part) or bool(_hooks(part))


def _make_plain(part: nn.Module) -> None:
    if parametrize.is_parametrized(part):
        names = list(part.parametrizations)  # type: ignore[arg-type]
        values = {name: getattr(part, name).clone() for name in names}
        # By hand, as torch would take the property off the class, which the original has too.
        part.__class__ = parametrize.type_before_parametrizations(part)
        del part.parametrizations
        for name, value in values.items():
            setattr(part, name, nn.Parameter(value))
    for hook in _hooks(part):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(part, hook.name)
        elif isinstance(hook, SpectralNorm):
            remove_spectral_norm(part, hook.name)
        else:
            prune.remove(part, hook._tensor_name)  # type: ignore[no-untyped-call]


class _GradientsOn(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is torch._C._set_grad_enabled:
            return None
        if func == Tensor.data.__get__:  # type: ignore[attr-defined]
            return args[0].detach()
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def gradients_on(network: nn.Module) -> Iterator[None]:
    """``no_grad`` in the forward is left out and ``.data`` is ``detach()``: the same numbers.

    torch.export cannot follow ``.data``, and keeps ``no_grad`` as a graph in the graph. The mode
    stands inside of the forward, as torch.export has one of its own outside.
    """
    forward = network.forward

    @functools.wraps(forward)
    def with_gradients(*args: Any, **kwargs: Any) -> Any:
        with _GradientsOn():
            return forward(*args, **kwargs)

    network.forward = with_gradients
    try:
        yield
    finally:
        del network.forward
