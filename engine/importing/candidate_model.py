"""The network under examination, whatever kind of file it came from."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from engine.catalog.models.cards import Origin
from engine.catalog.models.wiring import Wiring
from engine.diagnostics import OneByOne
from engine.importing import scores as subnets
from engine.importing.chains.reading import Chain
from engine.importing.fit import Fit
from engine.importing.read import State
from engine.importing.report import Guess, Scaling
from engine.importing.stated import Stated
from engine.importing.verdict import Doubt
from engine.models.denormals import in_words, without_denormals, zero_denormals
from engine.models.files.tensors import count_parameters, load_state
from engine.models.registry import Shape, build


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
