"""A user's own network as ``file.py:factory``: run once, with consent, and kept as a program."""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from engine.errors import ModelError

Confirm = Callable[[str], bool]


def is_source(name: str) -> bool:
    """Whether a name means a function in a Python file."""
    path, colon, function = name.rpartition(":")
    return bool(colon) and path.endswith(".py") and function.isidentifier()


def export_source(name: str, shape: tuple[int, int, int], confirm: Confirm) -> bytes:
    """Run a factory and export the network it returns.

    Args:
        name: ``file.py:factory``; the function takes no arguments and returns an ``nn.Module``.
        shape: (C, H, W) of the images.
        confirm: is asked before anything runs.

    Returns:
        The exported program. From then on it alone is used, and nothing is run again.

    Raises:
        ModelError: there is no consent, or the code fails, or its network cannot be exported.
    """
    path_name, _, function = name.rpartition(":")
    path = Path(path_name)
    if not path.is_file():
        raise ModelError(f"There is no file {path}.", "Write it as file.py:factory.")
    if not confirm(f"This runs the code in {path} with all your rights. Run it?"):
        raise ModelError(
            f"The code in {path.name} was not run: nobody confirmed it.",
            "Where you trust it, confirm with --trust-code.",
        )
    return export(_make(path, function), shape, name)


def _make(path: Path, function: str) -> nn.Module:
    spec = importlib.util.spec_from_file_location(f"crumple_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        made = getattr(module, function)()
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


def export(network: nn.Module, shape: tuple[int, int, int], name: str) -> bytes:
    """A network as an exported program for any number of images.

    Raises:
        ModelError: torch cannot export it.
    """
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    buffer = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batch = torch.export.Dim("batch")
            program = torch.export.export(
                network.eval(), (images,), dynamic_shapes=({0: batch},), strict=False
            )
            torch.export.save(program, buffer)
    except Exception as error:  # noqa: BLE001  torch raises whatever the network leads to
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no reason"
        raise ModelError(
            f"The network of {name} cannot be exported: {type(error).__name__}: "
            f"{reason.rstrip('.')}.",
            "See the documentation of torch.export for what a network may do.",
        ) from None
    return buffer.getvalue()
