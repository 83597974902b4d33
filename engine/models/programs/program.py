"""Networks of the user's own making, as exported programs (.pt2)."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import fx, nn
from torch.utils._pytree import tree_leaves

from engine.errors import ModelError
from engine.evaluation.guard import forked_rng
from engine.models.programs.check import checked_archive
from engine.models.programs.convert import as_modules
from engine.models.programs.precision import same_predictions, tolerance
from engine.models.programs.size import MOST_BYTES, TooLarge, check_size

_EXPORT = (
    "Export it in eval mode, for example: torch.export.save(torch.export.export(net.eval(), "
    "(images,), dynamic_shapes=({0: torch.export.Dim('batch')},)), 'net.pt2')."
)
_BATCH = 3
_MANY = 96  # memory may grow with the number of images, but not faster


def read_program(path: Path, shape: tuple[int, int, int]) -> fx.GraphModule:
    """Load an exported program as a network for any number of images.

    Args:
        path: of the .pt2 file.
        shape: (C, H, W) of one image.

    Returns:
        The module in eval mode. It gives the same logits as the program; its convolutions and
        linear layers are modules that compression can work on.

    Raises:
        ModelError: the file is refused or damaged, or the program is no classifier of such images.
    """
    content = _content(path)
    program = _load(content, path.name)
    module = as_modules(_unlifted(program, path.name), path.name)
    _compare(program, module, shape, path.name)
    return module.eval()


def _content(path: Path) -> bytes:
    try:
        return checked_archive(path)
    except OSError as error:
        raise ModelError(f"The program {path.name} cannot be read: {error.strerror}.") from None


def _load(content: bytes, name: str) -> torch.export.ExportedProgram:
    log = logging.getLogger("torch.export")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(io.BytesIO(content))
    except Exception as error:  # noqa: BLE001  torch raises whatever a damaged program leads to
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise ModelError(
            f"The exported program {name} cannot be read: {reason.rstrip('.')}.", _EXPORT
        ) from None
    finally:
        log.setLevel(level)


def _unlifted(program: torch.export.ExportedProgram, name: str) -> fx.GraphModule:
    try:
        module = program.module(check_guards=False)
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:160]
        raise ModelError(
            f"The exported program {name} cannot be read: {reason.rstrip('.')}.",
            "No part of a network may be called 'code' or 'graph': rename it and export again.",
        ) from None
    assert isinstance(module, fx.GraphModule)
    return module


def _compare(
    program: torch.export.ExportedProgram,
    module: fx.GraphModule,
    shape: tuple[int, int, int],
    name: str,
) -> None:
    """The network must say of each image what the program says of it.

    Of a program for any number of images, together and alone, from equal random states: what it
    says may depend on the batch, or be random, and then the network's does as well.

    Raises:
        ModelError: a logit differs by more than 1e-6, relative to the largest one above 1 (more
            for a program in half precision, whose predictions must be equal); or a tensor would
            be too large, which is known before any is made.
    """
    images = torch.rand(_BATCH, *shape, generator=torch.Generator().manual_seed(0))
    before = {key: one.clone() for key, one in module.state_dict().items()}
    try:
        check_size(module, (_BATCH, *shape), MOST_BYTES)
        check_size(module, (_MANY, *shape), MOST_BYTES * _MANY // _BATCH)
        check_size(lambda image: _ask(program, image), (1, *shape), MOST_BYTES)
        with torch.no_grad():
            found, expected = _both(program, module, images)
    except TooLarge as error:
        raise ModelError(
            f"The exported program {name} is refused: {error}.",
            f"At most {MOST_BYTES // 2**20} MB are allowed for a tensor. A program for a fixed "
            "number of images takes less if it is exported for any number of them.",
        ) from None
    except Exception as error:  # noqa: BLE001  a program may fail in any way of its own
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        size = "x".join(map(str, shape))
        raise ModelError(
            f"The exported program {name} fails on images of {size}: {reason.rstrip('.')}.", _EXPORT
        ) from None
    changed = changed_tensor(before, module)
    if changed is not None:
        raise ModelError(
            f"The exported program {name} changes {changed!r} in every forward, so what it says of "
            "an image hangs on what it was asked before.",
            "Export a network whose forward leaves its tensors alone in eval mode.",
        )
    if found.dim() != 2 or found.shape != expected.shape:
        raise ModelError(
            f"The exported program {name} gives outputs of the shape {tuple(found.shape)} instead "
            "of one row of logits per image.",
            _EXPORT,
        )
    dtype = module.meta["dtype"]
    largest = max(1.0, float(expected.nan_to_num(0.0, 0.0, 0.0).abs().max()))
    apart = (found - expected).abs().masked_fill(found == expected, 0.0)  # infinities too
    difference = float(apart.max())
    if difference <= tolerance(dtype) * largest and same_predictions(found, expected, difference):
        return
    reason = "treats 3 images together unlike one by one"
    if dtype is not None:
        reason = f"says something else in float32 than in {str(dtype).removeprefix('torch.')}"
    elif _count(program) is None:
        reason = "says something else as modules"
    raise ModelError(
        f"The exported program {name} {reason} (a logit differs by {difference:.2g}).", _EXPORT
    )


def changed_tensor(before: Mapping[str, torch.Tensor], module: nn.Module) -> str | None:
    """The name of a tensor that is no longer what it was, None if there is none."""
    return next(
        (
            key
            for key, one in module.state_dict().items()
            if key in before and not torch.equal(one.nan_to_num(), before[key].nan_to_num())
        ),
        None,
    )


def _both(
    program: torch.export.ExportedProgram, module: nn.Module, images: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the network and of the program, (M, K) each."""
    batches = [images[i : i + 1] for i in range(len(images))]
    if _count(program) is not None:
        return module(images.clone()), torch.cat([_ask(program, one) for one in batches])
    found, expected = [], []
    for seed, batch in enumerate([images, *batches]):
        with forked_rng(seed):
            found.append(module(batch.clone()))
        with forked_rng(seed):
            expected.append(_logits(program, batch.clone()))
    return torch.cat(found), torch.cat(expected)


def _placeholder(program: torch.export.ExportedProgram) -> torch.Tensor:
    """The example images of a program, without their numbers."""
    node = next(
        one
        for one in program.graph.find_nodes(op="placeholder")
        if one.name in program.graph_signature.user_inputs
    )
    value: torch.Tensor = node.meta["val"]
    return value


def _count(program: torch.export.ExportedProgram) -> int | None:
    """For how many images a program was made; None if for any number."""
    count = _placeholder(program).shape[0]
    return count if isinstance(count, int) else None


def _logits(program: torch.export.ExportedProgram, images: torch.Tensor) -> torch.Tensor:
    logits = program.module(check_guards=False)(images.to(_placeholder(program).dtype))
    found: torch.Tensor
    (found,) = tree_leaves(logits)
    return found.float()


def _ask(program: torch.export.ExportedProgram, image: torch.Tensor) -> torch.Tensor:
    """The logits of one image, also if the program was made for a fixed number of them."""
    return _logits(program, image.repeat(_count(program) or 1, 1, 1, 1))[:1]
