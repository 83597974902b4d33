"""A user's own network as ``file.py:Name``: run once, with consent, and kept as a program."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import fx, nn

from engine import extensions
from engine.errors import ModelError, StoreError
from engine.importing import foreign, outputs
from engine.importing.arguments import NONE, Arguments
from engine.importing.declared import parsed, read_code
from engine.importing.training_mode import lost_in_training

Confirm = Callable[[str], bool]

aten = torch.ops.aten

_LINKS: dict[object, str] = {
    aten.sigmoid.default: "sigmoid",
    aten.softmax.int: "softmax",
    aten._softmax.default: "softmax",
}
_SHAPING = {
    *(aten.view.default, aten.reshape.default, aten.flatten.using_ints, aten.clone.default),
    *(aten.squeeze.default, aten.squeeze.dim, aten.squeeze.dims),
}
"""What may stand behind them."""


@dataclass(frozen=True)
class Code:
    """A class or function in a Python file, and what it is called with.

    Attributes:
        name: ``file.py:Name``.
        arguments: for it.
    """

    name: str
    arguments: Arguments = NONE

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.name.rpartition(":")[0]).expanduser()

    @property
    def function(self) -> str:
        """The name in it."""
        return self.name.rpartition(":")[2]

    @property
    def label(self) -> str:
        """For a sentence."""
        given = f"({self.arguments.text})" if self.arguments.text else ""
        return f"{self.function}{given} of {self.path.name}"


@dataclass(frozen=True)
class Trusted:
    """Code that a person lets run.

    Attributes:
        code: the class or function.
        content: of its file, as it was trusted; just this is run.
    """

    code: Code
    content: bytes

    @property
    def sha256(self) -> str:
        """Of the file."""
        return hashlib.sha256(self.content).hexdigest()

    def network(self) -> nn.Module:
        """Run the file, once, and make its network, in eval mode.

        Raises:
            ModelError: the code fails, or gives no network.
        """
        return foreign.make(self.code.path, self.code.function, self.code.arguments, self.content)


def is_source(name: str) -> bool:
    """Whether a name means a class or function in a Python file."""
    path, colon, function = name.rpartition(":")
    return bool(colon) and path.endswith(".py") and function.isidentifier()


def trusted(code: Code, confirm: Confirm) -> Trusted:
    """Ask whether a file may run, unless a person has trusted it as it is; nothing runs yet.

    Raises:
        ModelError: it cannot be read, is not Python, or there is no consent.
    """
    path, content = code.path.absolute(), read_code(code.path)
    parsed(path.name, content)
    with contextlib.suppress(StoreError):  # a record that cannot be read: it is asked
        if extensions.makes_networks(path, content):
            return Trusted(code, content)
    if not confirm(f"This runs the code in {path} with all your rights. Run it?"):
        raise ModelError(
            f"The code in {path} was not run: nobody confirmed it.",
            "Where you trust it, confirm with --trust-code.",
            field="trust-code",
        )
    with contextlib.suppress(StoreError):  # it will be asked again
        extensions.trust_network(path, content)
    return Trusted(code, content)


def export_classifier(
    network: nn.Module, shape: tuple[int, int, int], name: str
) -> tuple[bytes, list[str]]:
    """A network as an exported program of logits, and what had to be done for it.

    Raises:
        ModelError: it fails, gives no row of numbers per image, is random in a way that no
            program keeps, or torch cannot export it.
    """
    images = outputs.sample(shape, _dtype(network))
    try:
        outputs.check_repeatable(network.eval(), images, name)
        network, baked = foreign.bake(network)
        network, notes = outputs.one_row_each(network, images, name)
        random = outputs.random(network, images)
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001  the user's network may fail in any way of its own
        raise _failure(name, f"fails on {outputs.IMAGES} images or on one", error) from None
    program = _export(network, images, name)
    if not random and (lost := lost_in_training(network, images)):
        notes.append(lost)
    module = program.module(check_guards=False)
    if random and not outputs.random(module, images):
        raise outputs.foreign_randomness(name)
    if not random and outputs.random(module, images):
        raise ModelError(
            f"The network of {name} seeds torch's generator in its forward, which an exported "
            "program does not: its noise would be drawn anew.",
            "Draw the noise once in __init__ and keep it by register_buffer.",
        )
    if random:
        notes.append("Its outputs are random in eval mode: noise or dropout acts in every forward.")
    assert isinstance(module, fx.GraphModule)
    stripped = _without_link(module)
    logits, more = outputs.as_logits(module, images, probabilities=not stripped)
    if stripped:
        more.insert(0, f"The {stripped} at its end was left out: logits are what it was given.")
    if more:
        program = _export(logits, images, name)
    return _content(program), [*baked, *notes, *more]


def export(network: nn.Module, shape: tuple[int, int, int], name: str) -> bytes:
    """A network as an exported program for any number of images.

    Raises:
        ModelError: torch cannot export it.
    """
    return _content(_export(network.eval(), outputs.sample(shape, _dtype(network)), name))


def _export(network: nn.Module, images: torch.Tensor, name: str) -> torch.export.ExportedProgram:
    try:
        program = _traced(network, images)
        if not _holds_graphs(program):
            return program
    except Exception as error:  # noqa: BLE001  torch raises whatever the network leads to
        failed: Exception | None = error
    else:
        failed = None
    try:
        with foreign.gradients_on(network):
            return _traced(network, images)
    except Exception as error:  # noqa: BLE001
        raise _failure(name, "cannot be exported", failed or error) from None


def _traced(network: nn.Module, images: torch.Tensor) -> torch.export.ExportedProgram:
    with warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")
        batch = torch.export.Dim("batch")
        return torch.export.export(
            network, (images[-2:].clone(),), dynamic_shapes=({0: batch},), strict=False
        )


def _holds_graphs(program: torch.export.ExportedProgram) -> bool:
    """Whether a part that ran without gradients became a graph in the graph."""
    return any(isinstance(one, fx.GraphModule) for one in program.graph_module.children())


def _content(program: torch.export.ExportedProgram) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """torch prints the graph of a failed export; the error tells it in a sentence."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(disabled)


_WAYS = {
    "data-dependent": "Its path hangs on the numbers in an image (an if, .item(), a drawn size), "
    "and a program has one path: take both by torch.where, or fix the size.",
    "Constraints violated": "Its path hangs on how many images come, and a program takes any "
    "number by one path: leave out the branch, and write x.shape[0] in place of len(x).",
    "numpy": "Compute with torch in forward: what numpy computes is no part of a program.",
    "SymIntArrayRef": "A generator of its own cannot be exported: draw by torch.rand without "
    "one, or draw once in __init__ and keep it by register_buffer.",
    "shapes cannot be multiplied": "Images of another size may be what it takes: bring them to it "
    "by --resize and --crop.",
    "is invalid for input of size": "It must take any number of images: reshape by "
    "x.flatten(1) or x.view(x.shape[0], -1), not to a fixed number of rows.",
}
"""Words in torch's reasons, and the way out."""


def _failure(name: str, what: str, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no reason"
    ways = (way for words, way in _WAYS.items() if words in str(error))
    return ModelError(
        f"The network of {name} {what}: {type(error).__name__}: {reason.rstrip('.')}.",
        next(ways, "Rewrite that part of its forward with plain operations of torch on tensors.")
        + " Or attack it from Python: engine.attacks.run_attack takes any module.",
    )


def _dtype(network: nn.Module) -> torch.dtype:
    """What images a network takes: those of the type of its parameters."""
    found = (one.dtype for one in network.parameters() if one.is_floating_point())
    return next(found, torch.float32)


def _without_link(module: fx.GraphModule) -> str:
    """Take the sigmoid or softmax off the end of a graph, in place; its name, "" if none."""
    node = module.graph.output_node().args[0]
    while isinstance(node, tuple | list) and len(node) == 1:
        (node,) = node
    while isinstance(node, fx.Node) and node.target in _SHAPING:
        node = node.args[0]
    if not isinstance(node, fx.Node) or node.target not in _LINKS or len(node.users) != 1:
        return ""
    if node.target is not aten.sigmoid.default and node.args[1] not in (1, -1):
        return ""  # over something else than classes
    node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
    module.graph.eliminate_dead_code()
    module.recompile()
    return _LINKS[node.target]
