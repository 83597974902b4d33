"""A variant as two files: ``variant.json`` (recipe and structure) and ``variant.safetensors``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import nn
from torch.utils._pytree import tree_leaves

from engine import catalog
from engine.catalog import ModelCard
from engine.catalog.models.cards import EXPORTED, Normalisation
from engine.catalog.models.wiring import Wiring
from engine.compression.layers import (
    Layer,
    attach,
    attach_behind,
    modules_of,
    on_weight,
    weight_layers,
)
from engine.compression.parts.base import ActivationPart, FrontPart, Part, WeightPart
from engine.compression.parts.front import Fronted, fronts
from engine.compression.registry import PARTS
from engine.compression.variant import Variant
from engine.errors import ModelError
from engine.models.attention import open_attention
from engine.models.files.bundle import normalised
from engine.models.files.bundle import skeleton as unfilled
from engine.models.files.tensors import (
    fill,
    fingerprint,
    json_bytes,
    parsed,
    read_file,
    shapes_of,
    tensor_bytes,
    write_atomically,
)
from engine.models.registry import build
from engine.models.reshape import Shapes, fit_shapes
from engine.specs.choices import Step, architecture_after, has_student, recipe_label

_NAME = "variant"
_ASKED = 4
"""Images that a variant is asked about before it is written."""


FRONT = "<front>"
"""The path of a part in front of the network; no module is called so."""


class _Place(BaseModel):
    """One mask or quantiser, or what stands in front: where it hangs and what it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    kind: str
    options: dict[str, Any] = {}


class Description(BaseModel):
    """A variant without its numbers: from this its network is built again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    architecture: str
    wiring: Wiring | None = None
    shape: tuple[int, int, int]
    classes: int
    normalisation: Normalisation | None = None
    model: str = ""
    recipe: tuple[Step, ...]
    parts: tuple[_Place, ...]
    fingerprint: str


def save(variant: Variant, card: ModelCard, folder: Path) -> None:
    """Write a variant so that ``load`` gives the same logits bit by bit.

    It is built once from what would be written, and asked, before anything is.

    Args:
        variant: what to write.
        card: of its base model, for the architecture.
        folder: is made if missing; holds one variant.

    Raises:
        ModelError: it would not be the same again; nothing is written then.
    """
    file = describe(variant, card)
    tensors = tensor_bytes(variant.live)
    _read_back(variant, file, tensors)
    write_atomically(folder / f"{_NAME}.safetensors", tensors)
    # The description comes last: where it is, the variant is complete.
    write_atomically(folder / f"{_NAME}.json", json_bytes(file.model_dump(mode="json")))


def _read_back(variant: Variant, file: Description, tensors: bytes) -> None:
    try:
        again = _filled(file, tensors, f"{_NAME}.safetensors")
        same = torch.equal(_answers(variant.live, file), _answers(again, file))
        same &= fingerprint(again) == file.fingerprint
    except ModelError as error:
        raise _unreadable(file, str(error)) from error
    if not same:
        raise _unreadable(file, "It gives other logits.")


def _answers(live: nn.Module, file: Description) -> torch.Tensor:
    """Logits of a few images; what layers draw is the same each time."""
    images = torch.rand(_ASKED, *file.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        found = tree_leaves(live(images))  # whether it gives logits, the gate asks
    return torch.cat([one.flatten().nan_to_num() for one in found if isinstance(one, torch.Tensor)])


def _filled(file: Description, content: bytes, name: str) -> nn.Module:
    """The network of a description with the tensors of its file."""
    state = parsed(content, name)
    live = skeleton(file, shapes_of(state))
    fill(live, state, name)
    return live


def _unreadable(file: Description, reason: str) -> ModelError:
    steps = recipe_label(file.recipe)
    return ModelError(
        f"The variant {steps} of {file.architecture} cannot be stored: built again from its "
        f"file it would not be the same. {reason}",
        "Leave out the step that changes the form of the network, and please report this.",
    )


def describe(variant: Variant, card: ModelCard) -> Description:
    """What a variant is, beside its tensors; the card is that of its base model."""
    architecture = architecture_after(card.architecture, variant.recipe)
    student = has_student(variant.recipe)
    return Description(
        architecture=architecture,
        wiring=None if student else card.wiring,
        shape=card.shape,
        classes=card.classes,
        # A student is a network of its own, for images in [0,1].
        normalisation=None if student else card.normalisation,
        model=card.id if architecture == EXPORTED and not student else "",
        recipe=variant.recipe,
        parts=tuple(_parts(variant.live)),
        fingerprint=fingerprint(variant.live),
    )


def skeleton(file: Description, shapes: Shapes) -> nn.Module:
    """A network of the right form, its masks and quantisers live; its tensors mean nothing.

    Args:
        file: the description of a variant.
        shapes: of its tensors by name; tell how many channels are left of each layer.
    """
    if file.model:  # its program lies in the library
        live = unfilled(catalog.model_card(file.model)).eval()
    else:
        plain = build(file.wiring or file.architecture, file.shape, file.classes)
        live = open_attention(normalised(plain, file.normalisation).eval())
    # The last in the list is the one next to the network.
    ahead = [place for place in file.parts if place.path == FRONT]
    for place in reversed(ahead):
        live = Fronted(_front(place), live).eval()
    if any(catalog.find("compressions", step.name).params.cuts for step in file.recipe):
        fit_shapes(live, shapes)
    for part in file.parts:
        if part.path != FRONT:
            _attach(live, part)
    return live


def is_stored(folder: Path) -> bool:
    """Whether a folder holds a whole variant."""
    return (folder / f"{_NAME}.json").is_file()


def load(folder: Path) -> Variant:
    """Read a variant; masks and quantisers are live again.

    Raises:
        ModelError: a file is missing, damaged, or the two do not belong together.
    """
    file = _read(folder / f"{_NAME}.json")
    tensors = folder / f"{_NAME}.safetensors"
    live = _filled(file, read_file(tensors), tensors.name)
    if fingerprint(live) != file.fingerprint:
        raise ModelError(
            f"The weights of the variant in {folder.name} are not those its JSON file describes.",
            "Delete the folder to compress again.",
        )
    return Variant(live, file.recipe)


def _read(path: Path) -> Description:
    try:
        return Description.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, ValidationError):
        raise ModelError(
            f"The variant file {path} is missing or damaged.",
            "Delete the folder to compress again.",
        ) from None


def _parts(live: nn.Module) -> Iterator[_Place]:
    for front in fronts(live):
        yield _Place(path=FRONT, kind=front.kind, options=front.options())
    for name, layer in weight_layers(live):
        for part in on_weight(layer):
            assert isinstance(part, Part)
            yield _Place(path=name, kind=part.kind, options=part.options())
    for path, module in modules_of(live, ActivationPart):
        assert isinstance(module, ActivationPart)
        owner = path.rpartition(".")[0]
        yield _Place(path=owner, kind=module.kind, options=module.options())


def _front(place: _Place) -> FrontPart:
    """What a file says to stand in front of the network; its numbers come with the tensors."""
    kind = PARTS.get(place.kind)
    if kind is None or not issubclass(kind, FrontPart):
        raise ModelError(
            f"The variant file has {place.kind!r} in front of its network, which is not known.",
            "Delete the folder to compress again.",
        )
    return kind.blank(place.options)


def _attach(live: nn.Module, place: _Place) -> None:
    """Hang up a part of the right form; its numbers come with the tensors."""
    module = dict(live.named_modules(remove_duplicate=False)).get(place.path)
    kind = PARTS.get(place.kind)
    if kind is not None and issubclass(kind, ActivationPart) and module is not None:
        attach_behind(live, place.path, kind.blank(place.options))
    elif kind is not None and issubclass(kind, WeightPart) and isinstance(module, Layer):
        attach(module, kind.blank(module.weight, place.options))
    else:
        raise ModelError(
            f"The variant file names {place.path!r} ({place.kind}), which its architecture does "
            "not have.",
            "Delete the folder to compress again.",
        )
