"""The network under examination, whatever kind of file it came from."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import fx, nn

from engine.catalog.models.cards import EXPORTED, Origin
from engine.catalog.models.wiring import Wiring
from engine.compression.layers import bare_matrices, weight_layers
from engine.data import ImageSet
from engine.diagnostics import OneByOne, in_company
from engine.errors import ModelError
from engine.importing import foreign, outputs
from engine.importing import scores as subnets
from engine.importing.chains.reading import Chain
from engine.importing.checkpoint_wrappers import Unwrapped, unwrap
from engine.importing.fit import Fit
from engine.importing.name_groups import Group
from engine.importing.onnx_files.child import look_over
from engine.importing.plain_tensors import few
from engine.importing.read import ONNX, PROGRAM, Content, State, read, sha256
from engine.importing.recognise import recognise
from engine.importing.report import Guess, Scaling
from engine.importing.source import Trusted, export_classifier
from engine.importing.stated import Stated
from engine.importing.verdict import Doubt
from engine.models.denormals import in_words, without_denormals, zero_denormals
from engine.models.files.tensors import count_parameters, load_state, tied_parameters
from engine.models.outside import PublishedNetwork, auxiliary, fetch
from engine.models.programs.check import checked_archive
from engine.models.programs.program import read_program
from engine.models.registry import Shape, bare, build
from engine.models.way_out import by_source

CHECK_SHAPE = (3, 32, 32)
_WORTH_TELLING = 0.01
"""Share of the weights; embeddings of positions are usually less."""
_FEW = 4
"""Images that tell whether outputs depend on the batch."""


@dataclass
class Patient:
    """What is known before any image was shown.

    Attributes:
        format: in words.
        architecture: its name.
        layout: whose names of tensors.
        classes: of the head.
        channels: of the images; None if only trying will tell.
        wiring: the layers, where no name of an architecture tells them.
        others: networks with the same tensors that are wired otherwise.
        state: the tensors under our names.
        masked: weights with a mask of the file in them, by their names there.
        scores: of Hydra's subnets, by the name of the layer.
        kept: the k that is known (``kept_known``), from the user or from zeros.
        module: the network itself, where it does not come from a state dict.
        program: the exported program to store.
        scaling: normalisation that came with the weights; ``settled`` says it is not in doubt.
        stated: accuracies that stand beside the weights.
        doubts: what speaks against the wiring that was chosen.
        alone: what the module says of an image depends on the batch, or is random: it is asked
            for one image at a time.
        chain: the layers of a network whose wiring only images tell (``chains.deduce``).
        way: how to import it by its own code.
        deduced: what images told of the chain, in words; ``guesses`` are the networks that it
            was chosen from.
    """

    format: str
    architecture: str
    layout: str
    classes: int
    channels: int | None = None
    wiring: Wiring | None = None
    others: tuple[Fit, ...] = ()
    sha256: str = ""
    origin: Origin = "imported"
    state: State = field(default_factory=dict)
    masked: State = field(default_factory=dict)
    scores: State = field(default_factory=dict)
    kept: float | None = None
    kept_known: bool = False
    module: nn.Module | None = None
    program: bytes | None = None
    compressible: bool = True
    scaling: Scaling | None = None
    settled: bool = False
    stated: Stated = ()
    doubts: tuple[Doubt, ...] = ()
    alone: bool = False
    dropped: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    chain: Chain | None = None
    way: str = ""
    deduced: str = ""
    guesses: tuple[Guess, ...] = ()

    def __post_init__(self) -> None:
        """Set denormal weights to zero, and note how many there were."""
        count, total = 0, sum(one.numel() for one in self.state.values())
        for key, value in self.state.items():
            self.state[key], few = without_denormals(value)
            count += few
        if self.module is not None:
            count, total = zero_denormals(self.module), count_parameters(self.module)
        if count:
            self.notes.append(in_words(count, total))

    @property
    def complete(self) -> bool:
        """Whether it is a whole network, with the normalisation inside if it has one."""
        return self.module is not None and not self.settled and self.chain is None

    def take(self, fit: Fit) -> None:
        """Become another network of the same tensors."""
        self.architecture, self.wiring, self.layout = fit.architecture, fit.wiring, fit.layout.id
        self.state = {key: without_denormals(one)[0] for key, one in fit.state.items()}

    def network(self, shape: Shape, kept: float | None) -> nn.Module:
        """A network with the weights; with scores, the subnet that keeps this share."""
        if self.module is not None:
            return OneByOne(self.module) if self.alone else self.module
        state = self.state
        if self.scores and kept is not None:
            state = subnets.masked(state, self.scores, kept)
        network = build(self.wiring or self.architecture, shape, self.classes)
        own = network.state_dict()
        # Old versions of torch had no counters; everything else is complete.
        load_state(network, {**own, **state})
        return network.eval()


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


def from_program(path: Path, shape: Shape) -> Patient:
    """An exported program as a network; the library keeps what was looked over, not the file.

    Args:
        path: of the .pt2 file.
        shape: (C, H, W) of the images.

    Raises:
        ModelError: it is refused, or no classifier of such images.
    """
    module = read_program(path, shape)
    with torch.no_grad():
        classes = module(torch.zeros(1, *shape)).shape[1]
    notes = _left_alone(module)
    if dtype := module.meta["dtype"]:
        kind = str(dtype).removeprefix("torch.")
        notes.append(f"Converted from {kind} to float32, with equal predictions.")
    images = outputs.sample(shape, torch.float32)[-_FEW:]
    with torch.no_grad():
        company = in_company(module, images, module(images.clone()))
    # A random network may decide once for a batch: each image has a draw of its own here.
    random = outputs.random(module, images)
    if company.by_many and not random:
        notes.append(
            "What it says of an image depends on which others are in the batch: it is measured, "
            "searched and judged one image at a time."
        )
    return Patient(
        format=PROGRAM,
        architecture=EXPORTED,
        layout="its own",
        classes=int(classes),
        sha256=sha256(path),
        module=module,
        program=checked_archive(path),
        compressible=bool(weight_layers(module)),
        notes=notes,
        alone=company.by_many or random,
    )


def _left_alone(module: fx.GraphModule) -> list[str]:
    """What no step of a recipe works on, as a sentence if it is worth one."""
    layers, beside = weight_layers(module), bare_matrices(module)
    if not layers:
        return [
            "None of its weights lies in a convolution or linear layer that a step can work on: "
            "it can be attacked, but not compressed."
        ]
    alone = sum(one.numel() for one in beside)
    share = alone / (alone + sum(layer.weight.numel() for _, layer in layers))
    if share < _WORTH_TELLING:
        return []
    mixed = ", ".join(map(repr, module.meta["mixed"]))
    why = f", among them {mixed}, used in different ways" if mixed else ""
    return [
        f"{share:.1%} of its weights lie in no convolution or linear layer{why}: every step of a "
        "recipe leaves them as they are."
    ]


def from_source(source: Trusted, shape: Shape) -> Patient:
    """The network that a class or function gives with its weights, exported.

    Raises:
        ModelError: the code fails, or its network cannot be exported.
    """
    name = source.code.name
    network = source.network()
    content, notes = export_classifier(network, shape, name)
    patient = from_exported(content, shape)
    patient.masked = foreign.masked_weights(network)
    patient.notes[:0] = notes
    patient.format = f"network made by {Path(name).name}, exported"
    patient.sha256 = source.sha256
    return patient


def from_exported(content: bytes, shape: Shape) -> Patient:
    """A program that was exported here, looked over as one of others is."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.pt2"
        path.write_bytes(content)
        return from_program(path, shape)


def from_published(name: str, images: ImageSet) -> Patient:
    """Published weights of another package; downloaded if it has not done so before.

    Raises:
        ModelError: the package or the model is not there.
    """
    published = fetch(name, images.shape, len(images.class_names))
    with torch.no_grad():
        classes = int(published.module(torch.zeros(1, *images.shape)).shape[1])
    module = _rebuilt(published, name, images.shape, classes)
    scaling = None
    if published.mean:
        scaling = Scaling(label="as published", mean=published.mean, std=published.std)
    return Patient(
        format=f"published weights from {published.source}",
        architecture=published.architecture,
        layout="its own",
        classes=classes,
        origin="downloaded",
        module=module,
        scaling=scaling,
        settled=True,
    )


def _rebuilt(published: PublishedNetwork, name: str, shape: Shape, classes: int) -> nn.Module:
    """The network as it will be built from the library: it must say what the fetched one says."""
    tied = tied_parameters(published.module)
    if tied:
        raise ModelError(
            f"The network of {name} has one parameter under several names: {', '.join(tied)}.",
            "Export it by torch.export and import the .pt2.",
        )
    state = published.module.state_dict()
    expected = bare(published.architecture, shape, classes).state_dict()
    if {key: one.shape for key, one in expected.items()} != {
        key: one.shape for key, one in state.items()
    }:
        raise ModelError(f"The network of {name} has other tensors than its builder gives.")
    module = build(published.architecture, shape, classes)
    module.load_state_dict(state, strict=True)
    module.eval()
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        fetched, found = published.module(images.clone()), module(images)
    difference = float((fetched - found).abs().max())
    if not difference <= 1e-5 * max(1.0, float(fetched.abs().max())):
        raise ModelError(
            f"The network of {name} does not say what its builder's network says with the same "
            f"weights (a logit differs by {difference:.2g}).",
            "Export it by torch.export and import the .pt2.",
        )
    return module
