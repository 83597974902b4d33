"""Running a user's file and making its network one that torch.export can follow."""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import sys
import types
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm, remove_spectral_norm
from torch.nn.utils.weight_norm import WeightNorm, remove_weight_norm
from torch.overrides import TorchFunctionMode

from engine.errors import CrumpleError, ModelError
from engine.evaluation.guard import default_float32
from engine.importing import user_modules
from engine.importing.arguments import NONE, Arguments
from engine.importing.declared import declared, parsed, read_code

BAKED = (
    "Weights that were computed in each forward (weight or spectral normalisation, masks of "
    "torch.nn.utils.prune) became plain ones, with the same outputs."
)


def make(
    path: Path, name: str, arguments: Arguments = NONE, content: bytes | None = None
) -> nn.Module:
    """The network that a class or function in a file gives, in eval mode.

    The file can import what lies beside it. What it prints goes to standard error, and what it
    sets for all of torch (the type of new tensors, gradients off) is set back.

    Args:
        path: of the file.
        name: of a class of networks, a function that returns one, or a network.
        arguments: what it is called with.
        content: of the file, where it was looked at before; just this is run.

    Raises:
        ModelError: the code fails, has no such name, takes other arguments, or gives something
            else.
        SpecError: the arguments name what the file does not have.
    """
    where = f"{path.name}:{name}"
    content = read_code(path) if content is None else content
    syntax = parsed(path.name, content)
    try:
        with _as_before(), user_modules.beside(path), contextlib.redirect_stdout(sys.stderr):
            module = user_modules.run(path, content, syntax)
            target = getattr(module, name, None)
            if target is None:
                raise _no_such(path, name)
            made = target if isinstance(target, nn.Module) else _call(target, arguments, module)
    except CrumpleError:
        raise
    except SystemExit as error:
        raise ModelError(
            f"{path.name} ends the program when it is loaded ({error.code or 'exit'}).",
            'Keep what belongs to its own command line under: if __name__ == "__main__".',
        ) from None
    except Exception as error:
        at = user_modules.line_of(error, path)
        raise ModelError(
            f"{where} fails{at}: {type(error).__name__}: {_first_line(error)}."
        ) from error
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"{where} returns a {type(made).__name__} instead of a torch.nn.Module.", field="class"
        )
    return made.eval()


def _call(target: Any, arguments: Arguments, module: types.ModuleType) -> Any:
    name = getattr(target, "__name__", str(target))
    places, names = arguments.within(vars(module), Path(module.__file__ or "").name)
    takes = _signature_of(target)
    try:
        if takes is not None:
            takes.bind(*places, **names)
    except TypeError as error:
        raise ModelError(
            f"{name} cannot be made with ({arguments.text}): {error}.",
            f"It takes {takes}: give them by --args.",
            field="args",
        ) from None
    return target(*places, **names)


def _signature_of(target: Any) -> inspect.Signature | None:
    """What a class or function takes; None where Python cannot tell."""
    try:
        return inspect.signature(target).replace(return_annotation=inspect.Signature.empty)
    except (TypeError, ValueError):
        return None


def _no_such(path: Path, name: str) -> ModelError:
    there = ", ".join(one.name for one in declared(path))
    return ModelError(
        f"{path.name} has no class or function {name!r}.",
        f"It has: {there}." if there else "It has no class of networks and no function.",
        field="class",
    )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no reason"]
    return lines[0][:300].rstrip(".")


@contextlib.contextmanager
def _as_before() -> Iterator[None]:
    with default_float32(), torch.enable_grad():
        yield


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


def masked_weights(network: nn.Module) -> dict[str, Tensor]:
    """Weights that masks act on in each forward, with the masks in them, by name."""
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for path, part in network.named_modules():
            if parametrize.is_parametrized(part):
                chains: Any = part.parametrizations
                values = {
                    name: value
                    for name, chain in chains.items()
                    if (value := _masked(part, name, chain)) is not None
                }
            else:
                values = {
                    hook._tensor_name: hook.apply_mask(part)  # type: ignore[no-untyped-call]
                    for hook in _hooks(part)
                    if isinstance(hook, prune.BasePruningMethod)
                }
            found |= {f"{path}.{name}".lstrip("."): one for name, one in values.items()}
    return found


def _masked(part: nn.Module, name: str, chain: Iterable[nn.Module]) -> Tensor | None:
    """A parametrized weight, if a mask of its shape acts on it; others are not computed."""
    masks = [mask for one in chain if isinstance(mask := getattr(one, "mask", None), Tensor)]
    weight: Tensor | None = getattr(part, name) if masks else None
    fits = weight is not None and any(mask.shape == weight.shape for mask in masks)
    return weight if fits else None


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
