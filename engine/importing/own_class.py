"""A class of a person's own that the weights of a file are loaded into, all of them or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from engine.errors import ModelError
from engine.importing import fitting, foreign
from engine.importing.candidate_model import Patient
from engine.importing.checkpoint_wrappers import Unwrapped, as_saved
from engine.importing.declared import declared
from engine.importing.fitting import Fitting
from engine.importing.hub_folder import Hub
from engine.importing.plain_tensors import few
from engine.importing.read import ONNX, PROGRAM, State, read, sha256
from engine.importing.report import Scaling
from engine.importing.source import Code, Trusted, export_classifier
from engine.importing.whole_network import from_exported
from engine.models.registry import Shape


@dataclass(frozen=True)
class Weights:
    """What a file holds for a class of one's own.

    Attributes:
        path: of the file.
        format: its container, in words.
        found: the tensors.
        plain: whether it holds tensors and numbers alone, so that torch loads it as such.
        hub: what a folder says of its weights.
    """

    path: Path
    format: str
    found: Unwrapped
    plain: bool = True
    hub: Hub | None = None


def read_weights(path: Path, part: str | None) -> Weights:
    """Read the weights; nothing is run.

    Args:
        path: of the file.
        part: the wrapper to take, where it holds several state dicts.

    Raises:
        ModelError: the file is refused, or holds a network of its own.
    """
    content = read(path)
    if content.format in (PROGRAM, ONNX):
        raise ModelError(
            f"The file {path.name} brings its own network: {content.format}.",
            "Leave out --class.",
            field="class",
        )
    found = as_saved(content.tree, path.name, part)
    if content.ignored:
        found.dropped.append(f"objects that are not made: {few(content.ignored)}")
    return Weights(path, content.format, found, not content.ignored, content.hub)


def from_class(weights: Weights, source: Trusted, shape: Shape) -> Patient:
    """A network of a person's class with the weights of a file, exported.

    Args:
        weights: of the file.
        source: names the class, or a function that returns the network.
        shape: (C, H, W) of the images.

    Raises:
        ModelError: the code fails, its network has other tensors than the file, or cannot be
            exported.
    """
    code, found = source.code, weights.found
    network = source.network()
    loaded = load(network, found, weights.path.name, code)
    content, notes = export_classifier(network, shape, code.name)
    patient = from_exported(content, shape)
    patient.format = ", ".join([weights.format, *found.steps, f"in {code.label}"])
    patient.sha256 = sha256(weights.path)
    patient.stated, patient.dropped = found.stated, found.dropped
    told = f"The network is {code.label} (SHA-256 {source.sha256})."
    patient.notes[:0] = [told, *loaded.notes, *found.notes, *notes]
    patient.masked = {**loaded.masked, **foreign.masked_weights(network)}
    if found.scaling and not loaded.itself:
        mean, std = found.scaling
        patient.scaling = Scaling(label="inside the checkpoint", mean=mean, std=std)
        patient.settled = True
    elif weights.hub is not None:
        patient.scaling, patient.settled = weights.hub.scaling, weights.hub.settled
        patient.notes += weights.hub.notes
    return patient


@dataclass(frozen=True)
class Loaded:
    """How a file went into a network.

    Attributes:
        itself: the network has all that the file has: it normalises and masks itself.
        masked: weights of the network with masks of the file in them, by their names there.
        notes: what was done.
    """

    itself: bool
    masked: State
    notes: list[str]


def load(network: nn.Module, found: Unwrapped, file: str, code: Code) -> Loaded:
    """Load a file into a network, the names as saved or as they are without wrappers.

    Raises:
        ModelError: a tensor is missing, left over or of another shape; nothing is loaded in part.
    """
    shapes = fitting.shapes_of(network.state_dict())
    as_saved, plain = fitting.fit(shapes, found.saved), fitting.fit(shapes, found.state)
    best = min(plain, as_saved, key=lambda one: one.errors)
    # Also where names differ: a class may rename those of older versions of itself.
    if not _loaded(network, best) and not (best is plain and _loaded(network, as_saved)):
        raise _misfit(network, shapes, best, file, code)
    off, before = best.prefix
    notes = [f"The prefix {off!r} of names in the file came off."] if off else []
    notes += [f"The network has the tensors of the file below {before!r}."] if before else []
    own = network.state_dict()
    masked = {
        key: own.get(name, found.masked[key])
        for name, key in plain.names.items()
        if key in found.masked and best is plain
    }
    return Loaded(best is as_saved, masked, notes)


def _loaded(network: nn.Module, laid: Fitting) -> bool:
    """Load, unless something is missing or left over by the network's own judgement."""
    try:
        # Not the network's own method, which may load in part.
        nn.Module.load_state_dict(network, dict(laid.state), strict=True)
    except Exception:  # noqa: BLE001  the class may bring hooks, which fail in ways of their own
        return False
    return True


def _misfit(
    network: nn.Module, shapes: dict[str, fitting.Shape], laid: Fitting, file: str, code: Code
) -> ModelError:
    """The error for weights that do not fit, with every tensor by name."""
    what = fitting.complaint(laid, code.function) or "the network refuses them"
    takes = next((one.takes for one in declared(code.path) if one.name == code.function), "")
    buffers = {name for name, _ in network.named_buffers()}
    told = bool(takes and laid.wrong)
    hint = "Nothing is loaded in part: make the class the one that was saved."
    if 2 * len(fitting.alike(shapes, laid)) == laid.errors > 0:
        hint = "Only names differ: call them in the class as they are called in the file."
    elif told or (takes and laid.missing):
        hint = (
            f"{code.function} takes ({takes}): give by --args what the weights were trained with."
        )
    elif buffers.issuperset(laid.missing) and len(laid.missing) == laid.errors:
        hint = (
            "Those are buffers: where the class sets them itself, register them with "
            "persistent=False."
        )
    return ModelError(
        f"The weights of {file} do not fit {code.label}: {what}.",
        hint,
        field="args" if told else "class",
        table=fitting.table(shapes, laid) if laid.errors else (),
    )
