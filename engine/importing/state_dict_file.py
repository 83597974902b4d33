"""Files of weights alone: their names and shapes tell the network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.catalog.models.cards import EXPORTED
from engine.importing import scores as subnets
from engine.importing.candidate_model import Patient
from engine.importing.chains.reading import Chain
from engine.importing.checkpoint_wrappers import Unwrapped, unwrap
from engine.importing.fit import Fit
from engine.importing.name_groups import Group
from engine.importing.onnx_files.child import look_over
from engine.importing.plain_tensors import few
from engine.importing.read import ONNX, Content, State, read, sha256
from engine.importing.recognise import recognise
from engine.importing.report import Scaling
from engine.models.outside import auxiliary
from engine.models.registry import Shape
from engine.safe_files.way_out import by_source


def from_file(
    path: Path,
    *,
    part: str | None,
    architecture: str | None,
    density: float | None,
    shape: Shape | None,
) -> Patient | None:
    """Recognise a checkpoint; None for an exported program and for ONNX, once looked over.

    Raises:
        ModelError: the file is refused, or no architecture fits.
    """
    content = read(path)
    if content.format == ONNX:
        look_over(path)
    if content.tree is None:
        return None
    named = architecture or (content.hub.architecture if content.hub else None)

    def fits(group: Group) -> Fit | Chain:
        return recognise(_split(group.state).plain, path.name, shape, named)

    chosen = unwrap(content.tree, path.name, part, fits)
    found, fit, split = chosen.found, chosen.fit, _split(chosen.group.state)
    if content.ignored:
        found.dropped.append(f"objects that are not made: {few(content.ignored)}")
    found.dropped += split.dropped
    if density is not None and not split.scores:
        found.notes.append(
            f"--density {density:g} has no effect: there are no scores, so the weights are as "
            "dense as they are."
        )
    form = ", ".join([content.format, *found.steps])
    if isinstance(fit, Chain):
        state = subnets.with_masks(split.plain, split.scores, density)
        patient = _of_chain(fit, form, state)
        patient.way = by_source(path.name)
        if density != 1:
            patient.masked = {f"{layer}.weight": state[f"{layer}.weight"] for layer in split.scores}
    else:
        patient = _of_fit(fit, form, split.scores)
    patient.masked |= found.masked
    patient.sha256, patient.stated = sha256(path), found.stated
    patient.dropped += found.dropped
    patient.notes[:0] = found.notes
    _choose_kept(patient, density)
    _check_numbers(patient)
    _settle_scaling(patient, found, content)
    return patient


def _of_fit(fit: Fit, form: str, scores: State) -> Patient:
    return Patient(
        format=form,
        architecture=fit.architecture,
        layout=fit.layout.id,
        classes=fit.classes,
        channels=fit.channels,
        wiring=fit.wiring,
        # The scores of a subnet bear the names of one network.
        others=() if scores else fit.others,
        state=fit.state,
        scores=_renamed(scores, fit),
    )


def _of_chain(chain: Chain, form: str, state: State) -> Patient:
    """A network whose layers are known, and of what stands between them nothing yet."""
    return Patient(
        format=form,
        architecture=EXPORTED,
        layout=f"a chain of {chain.words()}",
        classes=max(chain.outputs, 2),
        channels=chain.channels,
        state=dict(state),
        chain=chain,
    )


def _settle_scaling(patient: Patient, found: Unwrapped, content: Content) -> None:
    """The normalisation that came with the weights."""
    if found.scaling:
        mean, std = found.scaling
        patient.scaling = Scaling(label="inside the checkpoint", mean=mean, std=std)
        patient.settled = True
    elif content.hub is not None:
        patient.scaling, patient.settled = content.hub.scaling, content.hub.settled
    if content.hub is not None:
        patient.notes += content.hub.notes


@dataclass
class _Split:
    """The tensors that a network computes with, its scores, and what only training uses."""

    plain: State
    scores: State
    dropped: list[str]


def _split(state: State) -> _Split:
    dropped = []
    unused = [key for key in state if key.startswith("sub_block1.")]
    if unused and any(key.startswith("block1.") for key in state):
        dropped.append(
            f"sub_block1: {len(unused)} tensors of a second first stage that no forward pass uses"
        )
        state = {key: value for key, value in state.items() if key not in unused}
    plain, scores = subnets.split(state)
    heads = auxiliary(plain)
    if heads:
        dropped.append(f"auxiliary heads, {len(heads)} tensors that only training uses")
        plain = {key: value for key, value in plain.items() if key not in heads}
    return _Split(plain, scores, dropped)


def _renamed(scores: State, fit: Fit) -> State:
    suffix = ".weight"
    return {fit.layout.ours(f"{key}{suffix}")[: -len(suffix)]: one for key, one in scores.items()}


def _choose_kept(patient: Patient, density: float | None) -> None:
    if not patient.scores:
        return
    if density is not None:
        patient.kept, patient.kept_known = density, True
        patient.dropped.append(f"scores of {len(patient.scores)} layers, turned into masks")
        return
    zeros = subnets.kept_by_zeros(patient.state, patient.scores)
    if zeros is not None:
        patient.kept, patient.kept_known = zeros, True
        patient.notes.append(
            f"The weights are masked already: their zeros and the scores agree on k = {zeros:g}."
        )


def _check_numbers(patient: Patient) -> None:
    bad = [key for key, value in patient.state.items() if not bool(value.isfinite().all())]
    if bad:
        patient.notes.append(f"Not finite: {', '.join(bad[:4])}{', ...' if len(bad) > 4 else ''}.")
    if any(bool((value < 0).any()) for key, value in patient.state.items() if "running_var" in key):
        patient.notes.append("A running variance is negative: the file is damaged.")
