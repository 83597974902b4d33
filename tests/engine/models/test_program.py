"""Exported programs: converted without changing a logit, and never trusted."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine import catalog, compression, models
from engine.cli.main import main
from engine.compression.layers import weight_layers
from engine.errors import ModelError
from engine.host import device
from engine.importing.doctor import Examined, Request, import_model
from engine.models.programs.check import checked_archive
from engine.models.programs.program import read_program
from engine.specs.choices import make_step
from engine.specs.dataset import DatasetSpec
from engine.store.artifacts import models_of
from tests.helpers.checkpoints import ask, labelled, pictures
from tests.helpers.own_network import SHAPE, exported, own


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_the_network_says_what_the_program_says(batch: int | None, tmp_path: Path) -> None:
    net, images = own(), pictures(7, side=8)
    module = read_program(exported(tmp_path / "n.pt2", net, batch), SHAPE)
    assert torch.allclose(ask(module, images), ask(net, images), atol=1e-6, rtol=0)
    kinds = [type(one).__name__ for one in module.modules()]
    assert (kinds.count("Conv2d"), kinds.count("Linear"), kinds.count("ReLU")) == (2, 1, 2)
    assert sum(p.numel() for p in module.parameters()) == sum(p.numel() for p in net.parameters())


def test_it_can_be_pruned_quantised_stored_and_searched(tmp_path: Path) -> None:
    net, images = own(), pictures(16, side=8)
    module = read_program(exported(tmp_path / "n.pt2", net), SHAPE)
    steps = make_step({"name": "magnitude", "sparsity": 0.5}), make_step({"name": "ptq", "bits": 4})
    variant = compression.apply(module, steps, compression.Context(images))
    deployed = variant.deployed()
    weights = [m.weight for m in deployed.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    zeros = sum(int((one == 0).sum()) for one in weights) / sum(one.numel() for one in weights)
    assert zeros >= 0.5
    assert not torch.equal(ask(deployed, images), ask(module, images))
    view = compression.apply(module, (), compression.Context()).attack_view()
    assert sum(isinstance(one, nn.BatchNorm2d) for one in view.modules()) == 0
    assert torch.allclose(ask(view, images), ask(module, images), atol=1e-5)


class Attention(nn.Module):
    """Weights that are no layer: attacked as it is, but not compressed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(192, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1) @ self.weight


def test_bare_weights_are_told(tmp_path: Path) -> None:
    net, images = Attention().eval(), pictures(4, side=8)
    module = read_program(exported(tmp_path / "n.pt2", net), SHAPE)
    assert not weight_layers(module)
    assert torch.allclose(ask(module, images), ask(net, images), atol=1e-5)


def test_training_mode_and_wrong_shapes(tmp_path: Path) -> None:
    path = exported(tmp_path / "n.pt2", own().train())
    with pytest.raises(ModelError, match="training mode"):
        read_program(path, SHAPE)
    with pytest.raises(ModelError, match="fails on images of 3x16x16"):
        read_program(exported(tmp_path / "m.pt2", own()), (3, 16, 16))


def bring(tmp_path: Path, file: str, net: nn.Module, **options: Any) -> Examined:
    labelled(net, pictures(side=8), tmp_path / "x.npz")
    spec = DatasetSpec.model_validate({"npz": str(tmp_path / "x.npz")})
    return import_model(Request(file=file, dataset=spec), tmp_path / "library", **options)


def test_a_program_goes_into_the_library_and_comes_back(tmp_path: Path) -> None:
    net, images = own(), pictures(side=8)
    done = bring(tmp_path, str(exported(tmp_path / "mine.pt2", net)), net)
    assert done.report.health == "healthy"
    assert (done.report.architecture, done.report.classes) == ("exported", 5)
    catalog.use_library(tmp_path / "library")
    card = catalog.model_card("mine")
    module = models.load(card)
    assert torch.allclose(ask(module, images), ask(net, images), atol=1e-6)
    stored = (tmp_path / "library" / "mine.pt2").read_bytes()
    assert stored == checked_archive(tmp_path / "mine.pt2") != (tmp_path / "mine.pt2").read_bytes()
    step = make_step({"name": "magnitude", "sparsity": 0.5})
    variant = compression.apply(module, (step,), compression.Context(images))
    compression.save(variant, card, tmp_path / "variant")
    again = compression.load(tmp_path / "variant")
    assert torch.equal(ask(again.deployed(), images), ask(variant.deployed(), images))
    (tmp_path / "library" / "mine.pt2").write_bytes(
        exported(tmp_path / "o.pt2", own()).read_bytes()
    )
    with pytest.raises(ModelError, match="not those its card describes"):
        models.load(card)


FACTORY = """
from pathlib import Path
from tests.helpers.own_network import own
def make():
    trace = Path({trace!r})
    trace.write_text(trace.read_text() + "x" if trace.exists() else "x")
    return own()
def broken():
    raise KeyError("no weights")
def number():
    return 3
"""


def test_a_factory_runs_only_with_consent_and_only_once(tmp_path: Path) -> None:
    trace, code = tmp_path / "trace", tmp_path / "net.py"
    code.write_text(FACTORY.format(trace=str(trace)))
    net = own()
    with pytest.raises(ModelError, match="nobody confirmed"):
        bring(tmp_path, f"{code}:make", net)
    assert not trace.exists()
    asked: list[str] = []

    def consent(question: str) -> bool:
        asked.append(question)
        return True

    done = bring(tmp_path, f"{code}:make", net, confirm=consent)
    assert len(asked) == 1
    assert str(code) in asked[0]
    assert done.report.health == "healthy"
    catalog.use_library(tmp_path / "library")
    loaded = models.load(catalog.model_card("net"))
    assert torch.allclose(ask(loaded, pictures(side=8)), ask(net, pictures(side=8)), atol=1e-6)
    assert trace.read_text() == "x"


@pytest.mark.parametrize(
    ("function", "message"),
    [("broken", "KeyError"), ("number", "returns a int"), ("none", "no class or function 'none'")],
)
def test_a_factory_that_fails(function: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(FACTORY.format(trace=str(tmp_path / "t")))
    with pytest.raises(ModelError, match=message):
        bring(tmp_path, f"{tmp_path / 'net.py'}:{function}", own(), confirm=lambda _: True)


def changed(path: Path, change: Callable[[str, bytes], bytes], **more: bytes) -> Path:
    """The archive with some of its entries replaced or added."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.namelist():
            new.writestr(entry, change(entry, old.read(entry)))
        root = old.namelist()[0].partition("/")[0]
        for name, content in more.items():
            new.writestr(f"{root}/{name}", content)
    path.write_bytes(buffer.getvalue())
    return path


def described(change: Callable[[str], str]) -> Callable[[str, bytes], bytes]:
    return lambda entry, content: (
        change(content.decode()).encode() if entry.endswith("models/n.json") or (
            "/models/" in entry) else content
    )  # fmt: skip


class Payload:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.trace),)


def pickled(trace: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(((Payload(trace),), {}), buffer)
    return buffer.getvalue()


Change = Callable[[str, bytes], bytes]


def weights_as(trace: Path, use_pickle: object) -> Change:
    """The first record of the weights a pickle, and the description says so in its own way."""

    def change(entry: str, content: bytes) -> bytes:
        if entry.endswith("weights_config.json"):
            config = json.loads(content)
            next(iter(config["config"].values()))["use_pickle"] = use_pickle
            return json.dumps(config).encode()
        if entry.endswith("data/weights/weight_0"):
            buffer = io.BytesIO()
            torch.save(Payload(trace), buffer)
            return buffer.getvalue()
        return content

    return change


def samples(make: Callable[[bytes], bytes]) -> Change:
    return lambda entry, content: make(content) if "sample_inputs" in entry else content


def two_in_one(trace: Path) -> Change:
    """A pickle with an archive behind it: zipfile finds the archive, torch the pickle."""
    buffer = io.BytesIO()
    torch.save(((Payload(trace),), {}), buffer, _use_new_zipfile_serialization=False)
    return samples(lambda content: buffer.getvalue() + content)


def in_capitals(trace: Path) -> Change:
    """A pickle under a name that torch's reader finds all the same."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(pickled(trace))) as old,
        zipfile.ZipFile(buffer, "w") as new,
    ):
        for entry in old.namelist():
            new.writestr(entry.replace("data.pkl", "data.PKL"), old.read(entry))
    return samples(lambda _: buffer.getvalue())


def constant(path_name: str) -> Change:
    """One more constant, in a record of this name."""
    meta = {"dtype": 1, "sizes": [{"as_int": 1}], "requires_grad": False, "layout": 7,
            "device": {"type": "cpu", "index": None}, "strides": [{"as_int": 1}],
            "storage_offset": {"as_int": 0}}  # fmt: skip

    def change(entry: str, content: bytes) -> bytes:
        if not entry.endswith("constants_config.json"):
            return content
        config = json.loads(content)
        config["config"]["more"] = {
            "path_name": path_name, "is_param": False, "use_pickle": False, "tensor_meta": meta,
        }  # fmt: skip
        return json.dumps(config).encode()

    return change


def graph(change: Callable[[dict[str, Any]], object]) -> Change:
    """The graph of the description, changed in place."""

    def changed_text(text: str) -> str:
        found = json.loads(text)
        change(found["graph_module"]["graph"])
        return json.dumps(found)

    return described(changed_text)


def given(value: dict[str, Any]) -> Change:
    """The first operator gets another first argument."""
    return graph(lambda found: found["nodes"][0]["inputs"][0].update(arg=value))


def renamed(name: str) -> Change:
    return described(lambda text: text.replace('"relu"', json.dumps(name)))


def evil_expression(trace: Path) -> str:
    return f"__import__('os').mkdir('{trace}')"


ATTACKS: dict[str, tuple[Callable[[Path], Change], str]] = {
    "function": (
        lambda t: described(lambda s: s.replace("torch.ops.aten.relu.default", "torch.os.getcwd")),
        "the operator 'torch.os.getcwd'",
    ),
    "file operator": (
        lambda t: described(lambda s: s.replace("aten.relu.default", "aten.from_file.default")),
        "the operator",
    ),
    "expression": (
        lambda t: described(
            lambda s: s.replace("Symbol('", f"{evil_expression(t)}+Symbol('")
        ),
        "the expression",
    ),
    "name": (
        lambda t: described(lambda s: s.replace('"name": "x"', '"name": "x=print(1)"')),
        "the text",
    ),
    "pickled inputs": (
        lambda t: lambda entry, content: pickled(t) if "sample_inputs" in entry else content,
        "asks for posix.mkdir",
    ),
    "pickled weights": (
        lambda t: lambda entry, content: content.replace(
            b'"use_pickle": false', b'"use_pickle": true'
        ),
        "as pickles",
    ),
    "weights as pickles, said otherwise": (lambda t: weights_as(t, 1), "as pickles"),
    "weights as pickles, said in words": (lambda t: weights_as(t, "yes"), "as pickles"),
    "inputs with two faces": (two_in_one, "example inputs in a form"),
    "inputs in capitals": (in_capitals, "asks for posix.mkdir"),
    "constants that are objects": (lambda t: constant("opaque_obj_0/version"), "no plain tensors"),
    "constants from elsewhere": (lambda t: constant("../weights/weight_0"), "no plain tensors"),
    "argument that is a function": (
        lambda t: given({"as_operator": "torch.os.system"}), "of the kind 'as_operator'",
    ),
    "argument that is a graph": (
        lambda t: given({"as_graph": {"name": "g", "graph": {}}}), "of the kind 'as_graph'",
    ),
    "argument that is an object": (
        lambda t: given({"as_custom_obj": {"name": "o", "class_fqn": "c"}}), "'as_custom_obj'",
    ),
    "objects": (
        lambda t: graph(lambda g: g.update(custom_obj_values={"o": {"name": "o"}})),
        "a part 'custom_obj_values'",
    ),
    "method of an operator": (
        lambda t: described(
            lambda s: s.replace("aten.relu.default", "aten.relu.__getattribute__")
        ),
        "the operator",
    ),
    "repeated text": (
        lambda t: graph(lambda g: g["nodes"][0].update(
            target="_operator.mul", inputs=[{"name": "a", "arg": {"as_string": "x"}, "kind": 1}])),
        "on something that is no number",
    ),
    "target that is no text": (
        lambda t: graph(lambda g: g["nodes"][0].update(target=["torch.os.getcwd"])),
        "the operator",
    ),
    "name of a module": (lambda t: renamed("torch.nn.functional.relu"), "the text"),
    "name with a type": (lambda t: renamed("relu:torch"), "the text"),
    "number without end": (
        lambda t: described(lambda s: s.replace("Symbol('", "1<<999999999999+Symbol('")),
        "the expression",
    ),
    "count without end": (
        lambda t: described(lambda s: s.replace(
            '"range_constraints": {', '"range_constraints": {"u99999999999": {}, ')),
        "the size",
    ),
    "named inputs": (
        lambda t: described(
            lambda s: s.replace("builtins.tuple", "collections.defaultdict", 1)
        ),
        "inputs or outputs of the form",
    ),
    "no json": (lambda t: described(lambda s: s[:-20]), "no JSON"),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_program_that_would_run_code(attack: str, tmp_path: Path) -> None:
    make, message = ATTACKS[attack]
    trace = tmp_path / "trace"
    path = changed(exported(tmp_path / "n.pt2", own()), make(trace))
    with pytest.raises(ModelError, match=message):
        bring(tmp_path, str(path), own())
    assert not trace.exists()
    assert not (tmp_path / "library").exists()


def keep(entry: str, content: bytes) -> bytes:
    return content


def more(entry: str, trace: Path) -> dict[str, bytes]:
    return {entry: pickle.dumps(Payload(trace))}


@pytest.mark.parametrize(
    "entry",
    [
        "data/constants/opaque_obj_0/version",
        "data/constants/custom_obj_0",
        "data/constants/model.pt",
        "data/weights/model.pt",
        "data/weights/../constants/tensor_0",
        "data\\weights\\weight_0",
        "data/weights/WEIGHT_0",
        "data/weights/weight_٣",
        "data/sample_inputs/other.pt",
        "models/other.json",
        "models/model.JSON",
        "data/aotinductor/model/net.so",
        "data/aotinductor/model/net.cpp",
        "extra/module_info.json",
        "version/version",
    ],
)
def test_entries_that_no_classifier_needs(entry: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = changed(exported(tmp_path / "n.pt2", own()), keep, **more(entry, trace))
    with pytest.raises(ModelError, match="the entry"):
        bring(tmp_path, str(path), own())
    assert not trace.exists()
    assert not (tmp_path / "library").exists()


def test_two_folders_or_an_entry_twice_are_refused(tmp_path: Path) -> None:
    path = exported(tmp_path / "n.pt2", own())
    twice = changed(exported(tmp_path / "m.pt2", own()), keep)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/models/model.json", b"{}")
    with pytest.raises(ModelError, match="2 folders"):
        read_program(path, SHAPE)
    with zipfile.ZipFile(twice, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("m/models/model.json", b"{}")
    with pytest.raises(ModelError, match="entries"):
        read_program(twice, SHAPE)


def test_what_torch_gets_is_made_anew(tmp_path: Path) -> None:
    """Nothing of the example inputs, of the guards or of names in capitals passes."""
    path = exported(tmp_path / "n.pt2", own())
    content = checked_archive(path)
    assert checked_archive(path) == content
    with zipfile.ZipFile(io.BytesIO(content)) as made, zipfile.ZipFile(path) as old:
        names = {entry.partition("/")[2] for entry in made.namelist()}
        assert names <= {entry.partition("/")[2] for entry in old.namelist()}
        assert made.read("model/data/sample_inputs/model.pt") == b""
        program = json.loads(made.read("model/models/model.json"))
        assert program["guards_code"] == []
        assert all(not node["metadata"] for node in program["graph_module"]["graph"]["nodes"])
    (tmp_path / "again.pt2").write_bytes(content)
    assert checked_archive(tmp_path / "again.pt2") == content


def test_the_command_line_refuses_it_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "set_threads", lambda reserve=0: None)
    trace = tmp_path / "trace"
    path = changed(exported(tmp_path / "n.pt2", own()), two_in_one(trace))
    images = labelled(own(), pictures(side=8), tmp_path / "x.npz")
    database = tmp_path / "lab" / "lab.db"
    where = ["--npz", str(images), "--db", str(database), "--device", "cpu"]
    done = CliRunner().invoke(main, ["import", str(path), *where])
    assert done.exit_code == 2
    assert "example inputs in a form" in done.output
    assert not trace.exists()
    assert not models_of(database).exists()


def test_code_that_only_checks_inputs_is_left_out(tmp_path: Path) -> None:
    """Guards are Python source that torch would execute."""
    trace = tmp_path / "trace"
    net = own()

    def add_guards(text: str) -> str:
        found = json.loads(text)
        assert "guards_code" in found
        return json.dumps({**found, "guards_code": [evil_expression(trace)]})

    path = changed(exported(tmp_path / "n.pt2", net), described(add_guards))
    module = read_program(path, SHAPE)
    images = pictures(4, side=8)
    assert torch.allclose(ask(module, images), ask(net, images), atol=1e-6)
    assert not trace.exists()


def test_other_entries_and_compression_are_refused(tmp_path: Path) -> None:
    path = exported(tmp_path / "n.pt2", own())
    extra = {"data/constants/custom_obj_0": pickle.dumps(Payload(tmp_path / "t"))}
    with pytest.raises(ModelError, match="the entry 'data/constants/custom_obj_0'"):
        read_program(changed(path, lambda _, content: content, **extra), SHAPE)
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.namelist():
            new.writestr(entry, old.read(entry))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(ModelError, match="without compression"):
        read_program(path, SHAPE)


class Greedy(nn.Module):
    """A few bytes that ask for a lot of memory, whatever becomes of it."""

    def __init__(self, ask_for: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.head = nn.Linear(192, 5)
        self.ask_for = ask_for

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.flatten(1)) + 0 * self.ask_for(x).flatten()[0]  # type: ignore[no-any-return]


def all_at_once(x: torch.Tensor) -> torch.Tensor:
    large = [torch.ones(8000, 8000) + number for number in range(20)]
    return torch.stack([one[0, 0] for one in large])


GREEDY: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "ones": (lambda x: torch.ones(14000, 14000), "a tensor of 14000x14000, 748 MB"),
    "more ones": (lambda x: torch.ones(10**6, 10**6), "a tensor of 1000000x1000000"),
    "repeat": (lambda x: x.repeat(1, 10**6, 10, 1), "a tensor of 3x3000000x80x8"),
    "expand": (lambda x: torch.zeros(1).expand(10**5, 10**5).clone(), "100000x100000"),
    "arange": (lambda x: torch.arange(10**9), "a tensor of 1000000000"),
    "pad": (lambda x: F.pad(x, (10**5,) * 4), "a tensor of"),
    "outer product": (lambda x: x.flatten(1).T.repeat(90, 1) @ x.flatten(1).repeat(1, 90), "MB"),
    "pairs of images": (lambda x: x.repeat(1, 4, 4, 1).flatten()[:, None] * x.flatten(), "MB"),
    "all at once": (all_at_once, "MB at one time"),
}


class Watched(TorchDispatchMode):
    """Says what the largest tensor was that an operator really made, in bytes."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for one in tree_leaves(found):
            if isinstance(one, torch.Tensor) and not isinstance(one, FakeTensor):
                self.largest = max(self.largest, one.numel() * one.element_size())
        return found


@pytest.mark.parametrize("one", GREEDY)
def test_more_memory_than_a_classifier_takes(one: str, tmp_path: Path) -> None:
    """It is known before any operator runs."""
    greedy, message = GREEDY[one]
    path = exported(tmp_path / "n.pt2", Greedy(greedy).eval(), batch=2)
    with Watched() as watched, pytest.raises(ModelError, match=f"refused: .*{message}"):
        read_program(path, SHAPE)
    assert 0 < watched.largest < 2**20


def test_weights_lie_within_their_bytes(tmp_path: Path) -> None:
    def larger(entry: str, content: bytes, where: str, value: int) -> bytes:
        if not entry.endswith("weights_config.json"):
            return content
        config = json.loads(content)
        meta = next(one["tensor_meta"] for one in config["config"].values()
                    if len(one["tensor_meta"]["sizes"]) == 4)  # fmt: skip
        meta[where] = [{"as_int": value}, *meta[where][1:]] if meta[where] != {"as_int": 0} else {
            "as_int": value}  # fmt: skip
        return json.dumps(config).encode()

    for where, value in (("sizes", 10**6), ("strides", 1000), ("storage_offset", 1)):
        path = exported(tmp_path / f"{where}.pt2", own())
        changed(path, lambda entry, content: larger(entry, content, where, value))  # noqa: B023
        with pytest.raises(ModelError, match=r"of [\d,]+ bytes from 864"):
            read_program(path, SHAPE)


def test_a_record_without_bytes_is_no_tensor_of_any_size(tmp_path: Path) -> None:
    """For such a record torch makes zeros of the size that the description says."""
    path = exported(tmp_path / "n.pt2", own())
    with pytest.raises(ModelError, match="bytes from 0"):
        read_program(
            changed(path, lambda entry, content: b"" if "weights/weight_0" in entry else content),
            SHAPE,
        )
