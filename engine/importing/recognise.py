"""Which architecture a state dict belongs to, from names and shapes alone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import torch

from engine.errors import CrumpleError, ModelError
from engine.importing.chains.reading import Chain, read_chain
from engine.importing.families.reading import fit_families
from engine.importing.fit import Fit
from engine.importing.read import State
from engine.importing.torchvision_names import SIZES
from engine.models.architectures.layouts import best_layout
from engine.models.architectures.mlp import widths_of
from engine.models.registry import BUILDERS, Shape, bare, build
from engine.safe_files.way_out import by_source

_UNCOUNTED = "num_batches_tracked"
_SIDE = 32
_TORCHVISION_SIDE = 224
_MOST_BLOCKS = 150
_MOST_LISTED = 12
_PROBE = 64
"""The side of images that tell whether two networks are wired alike."""
_ALIKE = 1e-3
"""By how much they may differ, as a share of what two images differ by."""
_MOST_WRONG = 0.4
"""Tensors that do not fit, as a share of those of the file, up to which one looks like another."""

_BLOCK = re.compile(r"\.\d+\.[A-Za-z]\w*\.\w+$")
"""A layer with a name of its own in a numbered block, which then has branches."""

_PLAIN = ("vgg", "alexnet")
"""In the names of architectures without shortcuts: what is nearly one may be another chain."""


class NoArchitecture(ModelError):
    """Tensors that are of no architecture.

    Attributes:
        wrong: how many do not fit the nearest one, as a share of those of the file.
    """

    wrong = 1.0

    @classmethod
    def short_of(cls, share: float, message: str, hint: str, *, field: str = "") -> NoArchitecture:
        """The error for so many that do not fit."""
        error = cls(message, hint, field=field)
        error.wrong = share
        return error


def recognise(
    state: State,
    name: str,
    shape: Shape | None,
    architecture: str | None,
) -> Fit | Chain:
    """The architecture whose tensors are exactly those of a state dict, else the plain chain.

    Args:
        state: without wrappers, prefixes and scores.
        name: of the file.
        shape: (C, H, W) of the images, if known; some architectures depend on the side.
        architecture: the one that the user says it is; None to find out.

    Raises:
        NoArchitecture: none fits; says what comes nearest and which tensors are missing or left, or
            which there are, and the way that takes any network.
        ModelError: the one told is not that of the tensors.
    """
    _check_sizes(state, name)
    found = [fit for one in _candidates(state) if (fit := _try(one, state, shape))]
    families, reason = fit_families(state)
    best = min([*found, *families[:1]], key=lambda fit: fit.errors, default=None)
    if best is not None and not best.errors:
        best = replace(best, others=_others(best, families))
    way = by_source(name)
    if architecture is not None:
        return _forced(state, name, shape, architecture, best, way)
    if best is not None and not best.errors:
        return best
    near = best is not None and best.errors <= _MOST_WRONG * len(state)
    plain = best is not None and any(one in best.architecture.lower() for one in _PLAIN)
    blocks = bool(reason) and any(_BLOCK.search(key) for key in state)
    chain = None if blocks or (near and not plain) else read_chain(state)
    if chain is not None:
        return chain
    complete = f"Nothing is loaded in part: if tensors are missing, save it complete. {way}"
    if reason and not near:
        raise NoArchitecture.short_of(
            _MOST_WRONG,
            f"The checkpoint {name} looks most like a network of blocks in stages, but {reason}.",
            complete,
            field="class",
        )
    if best is None or not near:
        raise NoArchitecture(
            f"The {len(state)} tensors of {name} are of no known architecture: {_listed(state)}.",
            f"If it is one that Crumple knows, name it by --arch. {way}",
            field="class",
        )
    more = f" Read by its blocks, {reason}." if reason else ""
    raise NoArchitecture.short_of(
        best.errors / len(state),
        f"The checkpoint {name} looks most like {best.architecture}, but {best.complaint()}.{more}",
        complete,
        field="class",
    )


def _others(best: Fit, families: list[Fit]) -> tuple[Fit, ...]:
    """The networks of these tensors that are wired otherwise than the best."""
    if best.wiring is not None or len(families) < 2:
        return tuple(families[1:])
    images = torch.rand(2, best.channels, _PROBE, _PROBE, generator=torch.Generator())
    expected = _answers(best, images)
    bound = _ALIKE * float((expected[0] - expected[1]).abs().max())
    return tuple(
        one for one in families if not (_answers(one, images) - expected).abs().max() <= bound
    )


def _answers(fit: Fit, images: torch.Tensor) -> torch.Tensor:
    shape = (int(images.shape[1]), _PROBE, _PROBE)
    network = build(fit.wiring or fit.architecture, shape, fit.classes)
    network.load_state_dict({**network.state_dict(), **fit.state}, strict=True)
    with torch.no_grad():
        return network.eval()(images)  # type: ignore[no-any-return]


def _listed(state: State) -> str:
    """The weights with their shapes, the first of many."""
    weights = [(key, one) for key, one in state.items() if one.dim() >= 2] or list(state.items())
    named = [f"{key[:60]} {_size(tuple(one.shape))}" for key, one in weights[:_MOST_LISTED]]
    return ", ".join(named) + (", ..." if len(weights) > _MOST_LISTED else "")


def _check_sizes(state: State, name: str) -> None:
    if not state:
        raise ModelError(f"The checkpoint {name} holds no tensors.")
    if any(0 in value.shape for value in state.values()):
        raise ModelError(f"The checkpoint {name} holds tensors without elements.")


def _forced(
    state: State,
    name: str,
    shape: Shape | None,
    architecture: str,
    best: Fit | None,
    way: str,
) -> Fit:
    told = [one for one in (best, *best.others) if one.architecture == architecture] if best else []
    if told:
        fit = replace(told[0], others=())
    elif widths_of(architecture):
        raise ModelError(
            f"A chain of linear layers such as {architecture} is read from the shapes in {name}.",
            "Leave out --arch.",
            field="arch",
        )
    else:
        fit = fit_to(architecture, state, shape)
    if fit.errors:
        better = best is not None and not best.errors and best.architecture != architecture
        raise ModelError(
            f"The checkpoint {name} does not fit {architecture}: {fit.complaint()}.",
            f"Its tensors are those of {best.architecture}: leave out --arch."
            if better and best
            else f"Leave out --arch to have the architecture recognised. {way}",
            field="arch",
        )
    return fit


def _try(architecture: str, state: State, shape: Shape | None) -> Fit | None:
    try:
        return fit_to(architecture, state, shape)
    except CrumpleError:
        return None


def fit_to(architecture: str, state: State, shape: Shape | None) -> Fit:
    """Lay a state dict beside an architecture; nothing is loaded.

    Raises:
        ModelError: there is no such architecture, or it cannot be built for such images.
    """
    sides = shape[1:] if shape else (_side(architecture, state),) * 2
    probe = _expected(architecture, (3, *sides), 2)
    layout = best_layout(architecture, state, probe)
    ours = {layout.ours(key): value for key, value in state.items()}
    channels = _channels(probe, ours)
    if len(ours) != len(state):
        raise ModelError(f"Two tensors of the checkpoint have one name in {architecture}.")
    classes = _classes(probe, ours)
    expected = _expected(architecture, (channels, *sides), classes)
    wrong = tuple(
        f"{key} is {_size(ours[key].shape)} instead of {_size(size)}"
        for key, size in expected.items()
        if key in ours and tuple(ours[key].shape) != size
    )
    missing = [key for key in expected if key not in ours and not key.endswith(_UNCOUNTED)]
    extra = [layout.theirs(key) for key in ours if key not in expected]
    return Fit(architecture, layout, classes, channels, ours, tuple(missing), tuple(extra), wrong)


def _side(architecture: str, state: State) -> int:
    """Of the images, before any was seen: what the tensors of a vision transformer tell."""
    if not architecture.startswith("torchvision."):
        return _SIDE
    places, patches = (state.get(key) for key in ("encoder.pos_embedding", "conv_proj.weight"))
    if places is None or patches is None or places.dim() != 3 or patches.dim() != 4:
        return _TORCHVISION_SIDE
    # One token is the class; the others are a square of patches.
    return math.isqrt(int(places.shape[1]) - 1) * int(patches.shape[-1])


@cache
def _expected(architecture: str, shape: Shape, classes: int) -> dict[str, tuple[int, ...]]:
    try:
        module = bare(architecture, shape, classes)
    except CrumpleError:
        raise
    except Exception as error:  # noqa: BLE001  other packages refuse sizes in ways of their own
        raise ModelError(
            f"{architecture} cannot be built for images of {_size(shape)}: {str(error)[:160]}."
        ) from None
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a number"


def _classes(probe: dict[str, tuple[int, ...]], ours: State) -> int:
    """Rows of the head: the tensors that a network for two classes has two rows of, last of all."""
    for key in reversed(probe):
        size = probe[key]
        if size and size[0] == 2 and key in ours and ours[key].dim() == len(size):
            return max(int(ours[key].shape[0]), 1)
    return 2


def _channels(probe: dict[str, tuple[int, ...]], ours: State) -> int:
    """Of the images: what the first convolution of the architecture reads."""
    first = next((key for key, size in probe.items() if len(size) == 4), None)
    if first is None or first not in ours or ours[first].dim() != 4:
        return 3
    count = int(ours[first].shape[1])
    return count if count in (1, 3) else 3


def _candidates(state: State) -> Iterator[str]:
    for detect in _DETECTORS:
        found = detect(state)
        if found:
            yield found
    for name, tensors in SIZES.items():
        # Without the counters, which old checkpoints lack.
        if tensors == sum(not key.endswith(_UNCOUNTED) for key in state):
            yield f"torchvision.{name}"


def _rows(state: State, key: str) -> int:
    value = state.get(key)
    return int(value.shape[0]) if value is not None and value.dim() else 0


def _numbered(state: State, pattern: str) -> int:
    """How many different numbers stand at the group of a pattern."""
    found = {match[1] for key in state if (match := re.match(pattern, key))}
    return min(len(found), _MOST_BLOCKS)


def _wide(state: State) -> str | None:
    blocks = max(_numbered(state, rf"block{n}\.(?:layer\.)?(\d+)\.") for n in (1, 2, 3))
    rows = _rows(state, "fc.weight") and int(state["fc.weight"].shape[-1])
    width = (rows or _rows(state, "bn1.weight")) // 64
    return f"wrn-{6 * blocks + 4}-{width}" if blocks and width else None


def _swish(state: State) -> str | None:
    blocks = max(_numbered(state, rf"layer\.{n}\.block\.(\d+)\.") for n in (0, 1, 2))
    width = _rows(state, "batchnorm.weight") // 64
    return f"swish-wrn-{6 * blocks + 4}-{width}" if blocks and width else None


def _resnet(state: State) -> str | None:
    if not any(key.startswith("layer4.") for key in state) or "linear.weight" not in state:
        return None
    if not any(key.startswith("bn1.") for key in state):
        return "preact-resnet-18"
    width = _rows(state, "conv1.weight") or _rows(state, "bn1.weight")
    return "resnet-18" if width == 64 else f"resnet-18-w{width}"


def _narrow(state: State) -> str | None:
    if any(key.startswith("layer4.") for key in state) or not {"linear.weight", "fc.weight"} & set(
        state
    ):
        return None
    blocks = _numbered(state, r"layer1\.(\d+)\.")
    name = f"resnet-{6 * blocks + 2}"
    return name if name in BUILDERS else None


def _mobile(state: State) -> str | None:
    return "mobilenet-v2" if _numbered(state, r"layers\.(\d+)\.conv3") else None


def _vgg(state: State) -> str | None:
    return "vgg-16-bn" if any(key.startswith("classifier.4.") for key in state) else None


def _digits(state: State) -> str | None:
    return "digits-resnet" if "8.weight" in state and "3.conv1.weight" in state else None


_DETECTORS: tuple[Callable[[State], str | None], ...] = (
    _wide,
    _swish,
    _resnet,
    _narrow,
    _mobile,
    _vgg,
    _digits,
)
