"""The weights of a file go into a person's own class: all of them, or none and by name why."""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn

from engine import catalog, extensions, models
from engine.cli.main import main
from engine.errors import CrumpleError, ModelError, SpecError
from engine.importing import class_file, foreign, user_modules
from engine.importing.arguments import parse_arguments
from engine.importing.doctor import Examined, Request, import_model
from engine.importing.own_class import load, read_weights
from engine.importing.source import Code
from engine.models.normalised import Normalised
from engine.specs.dataset import DatasetSpec
from tests.helpers.checkpoints import ask, labelled, lively, pictures

SIDE = 8
CODE = """
from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class Settings:
    width: int = 8


class Net(nn.Module):
    def __init__(self, width=4, *, classes):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).relu().mean((2, 3)))


class Normal(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.full((1, 3, 1, 1), 0.4))
        self.register_buffer("std", torch.full((1, 3, 1, 1), 0.3))
        self.net = Net(classes=5)

    def forward(self, x):
        return self.net((x - self.mean) / self.std)


def small():
    return Net(classes=5)


def of(kind, **more):
    return kind(**more)


ready = Net(classes=5)
"""

State = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def own_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRUMPLE_METHODS", str(tmp_path / "methods"))


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(CODE)
    return path


def made(code: Path, name: str = "small", args: str = "") -> nn.Module:
    return foreign.make(code, name, parse_arguments(args))


def trained(code: Path, name: str = "small", args: str = "") -> nn.Module:
    return lively(made(code, name, args), pictures(side=SIDE))


def loaded(code: Path, file: Path, name: str = "small", args: str = "") -> nn.Module:
    """A network of a class with a file in it."""
    network = made(code, name, args)
    found = read_weights(file, None).found
    load(network, found, file.name, Code(f"{code}:{name}", parse_arguments(args)))
    return network


def refusal(code: Path, state: State, name: str = "small", args: str = "") -> ModelError:
    file = code.parent / "w.pth"
    torch.save(state, file)
    with pytest.raises(ModelError) as caught:
        loaded(code, file, name, args)
    return caught.value


# -- how it was saved ----------------------------------------------------------------------

WAYS: dict[str, Callable[[State], Any]] = {
    "bare": lambda state: state,
    "DataParallel, wrapped": lambda state: {"model": prefixed("module.", state), "epoch": 3},
    "twice wrapped": lambda state: {"state_dict": prefixed("module.model.", state)},
    "a prefix that nobody knows": lambda state: prefixed("student.deep.", state),
    "half": lambda state: {key: one.half() for key, one in state.items()},
    "without counters": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
    "beside objects": lambda state: {"net": state, "args": argparse.Namespace(lr=0.1)},
}


def prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}{key}": one for key, one in state.items()}


@pytest.mark.parametrize("way", WAYS)
def test_all_weights_come_in_whatever_they_are_wrapped_in(way: str, code: Path) -> None:
    network, images = trained(code), pictures(20, SIDE)
    file = code.parent / "w.pth"
    torch.save(WAYS[way](network.state_dict()), file)
    exact = network.half().float() if way == "half" else network
    assert torch.equal(ask(loaded(code, file), images), ask(exact, images))


def test_a_prefix_of_the_network_is_met_too(code: Path) -> None:
    network, file = trained(code, "Normal"), code.parent / "w.pth"
    inner = {key.removeprefix("net."): one for key, one in network.state_dict().items()}
    torch.save(inner, file)
    images = pictures(20, SIDE)
    assert torch.equal(ask(loaded(code, file, "Normal"), images), ask(network, images))


def test_numbers_of_a_normalisation_go_into_a_class_that_has_a_place_for_them(code: Path) -> None:
    network, file = trained(code, "Normal"), code.parent / "w.pth"
    network.mean.fill_(0.7)  # type: ignore[operator, union-attr]
    torch.save({"model": prefixed("module.", network.state_dict())}, file)
    made_again = loaded(code, file, "Normal")
    assert torch.equal(made_again.mean, network.mean)  # type: ignore[arg-type]


def test_a_class_may_rename_what_older_versions_of_it_saved(code: Path) -> None:
    old = nn.utils.parametrizations.weight_norm(nn.Linear(4, 5))
    state = {"fc.weight_g": old.parametrizations.weight.original0.detach(),  # type: ignore[union-attr]
             "fc.weight_v": old.parametrizations.weight.original1.detach(),  # type: ignore[union-attr]
             "fc.bias": old.bias.detach()}  # fmt: skip
    code.write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = nn.utils.parametrizations.weight_norm(nn.Linear(4, 5))\n"
    )
    torch.save(state, code.parent / "w.pth")
    network = loaded(code, code.parent / "w.pth", "Net")
    assert torch.allclose(network.fc.weight, old.weight)  # type: ignore[union-attr, arg-type]


# -- what does not fit ---------------------------------------------------------------------


def test_a_renamed_head_is_paired_and_nothing_else_is_told(code: Path) -> None:
    state = {key.replace("fc.", "head."): one for key, one in trained(code).state_dict().items()}
    error = refusal(code, state)
    assert "it lacks 2 tensors of small; it holds 2 tensors" in error.message
    assert "Only names differ" in error.hint
    assert error.table[1:] == (
        ("fc.weight", "5x4", "head.weight", "5x4", "another name?"),
        ("fc.bias", "5", "head.bias", "5", "another name?"),
    )


def test_other_shapes_are_told_with_both_and_lead_to_the_arguments(code: Path) -> None:
    state = trained(code, "Net", "width=6, classes=5").state_dict()
    error = refusal(code, state, "Net", "classes=5")
    assert ("conv.weight", "4x3x3x3", "conv.weight", "6x3x3x3", "another shape") in error.table
    assert len(error.table) == 1 + 7
    assert "Net takes (width=4, *, classes)" in error.hint
    assert error.field == "args"


def test_what_is_missing_and_left_over_is_told_by_name(code: Path) -> None:
    state = trained(code).state_dict()
    state["temperature"] = torch.zeros(2, 2)
    del state["norm.running_mean"]
    error = refusal(code, state)
    assert error.table[1:] == (
        ("norm.running_mean", "4", "", "", "missing in the file"),
        ("", "", "temperature", "2x2", "left over"),
    )
    assert error.field == "class"


def test_a_class_that_loads_in_part_does_not_get_its_way(code: Path) -> None:
    code.write_text(
        CODE + "\nclass Lax(Normal):\n    def load_state_dict(self, state, strict=True):\n"
        "        return super().load_state_dict(state, strict=False)\n"
    )
    state = trained(code).state_dict()
    del state["fc.bias"]
    assert "it lacks" in refusal(code, state, "Lax").message


def test_buffers_that_a_class_sets_itself_have_a_way_out(code: Path) -> None:
    code.write_text(CODE.replace("self.fc =", "self.register_buffer('t', torch.ones(1))\n"
                                 "        self.fc ="))  # fmt: skip
    state = trained(code).state_dict()
    del state["t"]
    assert "persistent=False" in refusal(code, state).hint


# -- the whole way -------------------------------------------------------------------------


def asked(code: Path, file: Path, confirm: bool = True, name: str = "Net", **wish: Any) -> Examined:
    spec = DatasetSpec(npz=str(code.parent / "x.npz"))
    request = Request(str(file), spec, network=f"{code}:{name}", **wish)
    return import_model(request, code.parent / "library", confirm=lambda _: confirm)


def test_from_a_class_and_a_file_to_the_library(code: Path) -> None:
    images = pictures(60, SIDE)
    network = lively(made(code, "Net", "6, classes=5"), images)
    labelled(network, images, code.parent / "x.npz")
    file = code.parent / "best.pth"
    torch.save({"model": prefixed("module.", network.state_dict()), "acc": 100.0}, file)
    done = asked(code, file, arguments="width=6, classes=5")
    assert done.card is not None
    assert (done.card.id, done.report.file) == ("best", "best.pth")
    assert "in Net(width=6, classes=5) of net.py" in done.report.format
    assert any("SHA-256" in note for note in done.report.notes)
    catalog.use_library(code.parent / "library")
    code.unlink()  # from now on its program alone is used
    assert torch.allclose(ask(models.load(done.card), images), ask(network, images), atol=1e-6)


def test_a_normalisation_in_the_file_goes_before_a_class_without_one(code: Path) -> None:
    images = pictures(60, SIDE)
    network = lively(made(code, "Normal"), images)
    labelled(network, images, code.parent / "x.npz")
    file = code.parent / "w.safetensors"
    save_file({key.replace("net.", "model."): v for key, v in network.state_dict().items()}, file)
    done = asked(code, file, name="small")
    assert done.report.clean_accuracy == 1.0
    assert done.report.normalisation is not None
    assert done.report.normalisation.mean == pytest.approx((0.4, 0.4, 0.4))


def test_a_folder_says_the_normalisation_of_a_class_too(code: Path) -> None:
    images = pictures(60, SIDE)
    mean, std = (0.2, 0.3, 0.4), (0.5, 0.6, 0.7)
    network = lively(made(code), images)
    labelled(Normalised(network, mean, std), images, code.parent / "x.npz")
    folder = code.parent / "hub"
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text("{}")
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": mean, "image_std": std, "do_normalize": True})
    )
    done = asked(code, folder, name="small")
    assert done.report.normalisation is not None
    assert done.report.normalisation.mean == pytest.approx(mean)
    assert done.report.clean_accuracy == 1.0


def test_nothing_runs_before_the_file_is_read_and_the_code_is_trusted(
    code: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    code.write_text(f"{CODE}\nopen({str(trace)!r}, 'w').close()\n")
    trap = tmp_path / "trap.pth"
    trap.write_bytes(b"\x80\x02 no checkpoint")
    with pytest.raises(CrumpleError):
        asked(code, trap)
    file = tmp_path / "w.pth"
    torch.save({"conv.weight": torch.zeros(4, 3, 3, 3)}, file)
    with pytest.raises(ModelError, match="nobody confirmed") as caught:
        asked(code, file, confirm=False)
    assert str(code) in caught.value.message
    assert caught.value.field == "trust-code"
    assert not trace.exists()
    assert extensions.network_files() == ()


def test_what_is_trusted_is_not_asked_again_until_it_changes(code: Path) -> None:
    images = pictures(60, SIDE)
    network = trained(code)
    labelled(network, images, code.parent / "x.npz")
    file = code.parent / "w.pth"
    torch.save(network.state_dict(), file)
    asked(code, file, name="small")
    assert asked(code, file, confirm=False, name="small").report.health == "healthy"
    code.write_text(CODE + "\n# one more line\n")
    with pytest.raises(ModelError, match="nobody confirmed"):
        asked(code, file, confirm=False, name="small")
    assert extensions.network_files() == (str(code),)
    assert extensions.remove("net.py") == str(code)
    assert extensions.network_files() == ()


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"network": "Net"}, "class"),
        ({"network": "net.py"}, "class"),
        ({"arguments": "width=3"}, "class"),
        ({"network": "net.py:Net", "architecture": "resnet-18"}, "arch"),
        ({"network": "net.py:Net", "density": 0.1}, "density"),
        ({"network": "net.py:Net", "file": "other.py:make"}, "class"),
        ({"network": "net.py:Net", "arguments": "f()"}, "args"),
    ],
)
def test_options_that_do_not_go_together_are_refused_at_their_field(
    wish: dict[str, Any], field: str
) -> None:
    with pytest.raises(SpecError) as caught:
        import_model(Request(**{"file": "w.pth", **wish}), None)
    assert caught.value.field == field


# -- running the file ----------------------------------------------------------------------


def test_classes_functions_and_networks_are_taken_with_their_arguments(code: Path) -> None:
    assert made(code, "Net", "6, classes=3").fc.weight.shape == (3, 6)  # type: ignore[union-attr]
    assert made(code, "of", "Net, classes=2").fc.weight.shape == (2, 4)  # type: ignore[union-attr]
    assert type(made(code, "ready")).__name__ == "Net"
    with pytest.raises(ModelError, match="missing a required argument: 'classes'") as caught:
        made(code, "Net")
    assert "(width=4, *, classes)" in caught.value.hint
    assert caught.value.field == "args"
    with pytest.raises(ModelError, match="no class or function 'Nett'") as caught:
        made(code, "Nett")
    assert "Net, Normal, small, of" in caught.value.hint
    with pytest.raises(SpecError, match="names Nothing, which"):
        made(code, "of", "Nothing")


def test_an_error_is_told_with_its_line(code: Path) -> None:
    code.write_text("def make():\n    x = 1\n    raise ValueError('no luck.\\nmore')\n")
    with pytest.raises(ModelError, match=r"net.py:make fails in line 3: ValueError: no luck\.$"):
        made(code, "make")


@pytest.fixture
def package(tmp_path: Path) -> Iterator[Path]:
    """A package whose modules import each other in every way that Python has."""
    folder = tmp_path / "my_nets"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("WIDTH = 3\n")
    (folder / "parts.py").write_text("from torch import nn\nfrom . import WIDTH\n")
    (folder / "deep" / "__init__.py").write_text("")
    (folder / "deep" / "net.py").write_text(
        "from ..parts import WIDTH, nn\nimport my_nets.parts\nfrom . import beside\n"
        "class Net(nn.Linear):\n    def __init__(self):\n        super().__init__(WIDTH, 2)\n"
    )
    (folder / "deep" / "beside.py").write_text("")
    yield folder
    for name in [one for one in sys.modules if one.partition(".")[0] == "my_nets"]:
        del sys.modules[name]


def test_a_module_of_a_package_imports_its_neighbours(package: Path) -> None:
    path = package / "deep" / "net.py"
    before = list(sys.path)
    assert made(path, "Net").weight.shape == (2, 3)  # type: ignore[union-attr]
    (package / "__init__.py").write_text("WIDTH = 5\n")
    assert made(path, "Net").weight.shape == (2, 5), "what changed is seen"  # type: ignore[union-attr]
    assert sys.path == before
    (package / "deep" / "__init__.py").write_text("from .net import Net\n")
    assert made(package / "deep" / "__init__.py", "Net").weight.shape == (2, 5)  # type: ignore[union-attr]


def test_just_the_bytes_that_were_trusted_run(code: Path) -> None:
    content = code.read_bytes()
    code.write_text("raise RuntimeError('another file')")
    module = user_modules.run(code, content, ast.parse(content))
    assert module.small


# -- the file to fill in -------------------------------------------------------------------


@pytest.mark.parametrize("way", ["DataParallel, wrapped", "beside objects", "safetensors"])
def test_the_written_file_loads_the_weights_once_its_class_is_filled_in(
    way: str, code: Path
) -> None:
    network = trained(code)
    file, own = code.parent / "a \"b'.pth", code.parent / "own.py"
    state = network.state_dict()
    if way == "safetensors":
        save_file(state, file)
    else:
        torch.save(WAYS[way](state), file)
    class_file.write_class(file, own)
    text = own.read_text("utf-8")
    assert "# conv  nn.Conv2d(3, 4, 3)  <- " in text
    assert "weight 4x3x3x3" in text
    assert "# fc    nn.Linear(4, 5)  <- " in text
    with pytest.raises(ModelError, match="NotImplementedError: Write the layers"):
        made(own, "Net")
    own.write_text(text.replace('raise NotImplementedError("Write the layers of Net here.")',
                                "self.__dict__ |= __import__('net').small().__dict__"))  # fmt: skip
    try:
        again = made(own, "make").state_dict()
    finally:
        sys.modules.pop("net", None)
    assert all(torch.equal(one, state[key]) for key, one in again.items())
    assert "num_batches_tracked" not in text


def test_lines_that_load_are_written_only_where_they_would(code: Path) -> None:
    file, own = code.parent / "script.pt", code.parent / "own.py"
    torch.jit.trace(trained(code), pictures(1, SIDE)).save(file)  # type: ignore[no-untyped-call]
    class_file.write_class(file, own)
    assert "nn.Conv2d(3, 4, 3)" in own.read_text("utf-8")
    assert "def make" not in own.read_text("utf-8")


def test_a_file_that_is_there_is_left_as_it_is(code: Path) -> None:
    file = code.parent / "w.pth"
    torch.save(trained(code).state_dict(), file)
    with pytest.raises(ModelError, match="There is a file") as caught:
        class_file.write_class(file, code)
    assert caught.value.field == "write-class"
    assert code.read_text() == CODE


def test_names_in_a_file_stay_comments(tmp_path: Path) -> None:
    evil = 'x\n    raise SystemExit\n    """\n\u2028weight'
    torch.save({f"{evil}.weight": torch.zeros(2, 2)}, tmp_path / "w.pth")
    class_file.write_class(tmp_path / "w.pth", tmp_path / "own.py")
    tree = ast.parse((tmp_path / "own.py").read_text("utf-8"))
    kinds = [type(one).__name__ for one in tree.body]
    assert kinds == ["Expr", "Import", "ImportFrom", "ClassDef", "FunctionDef"]
    assert [type(one).__name__ for one in tree.body[3].body] == ["FunctionDef"] * 2  # type: ignore[attr-defined]


def test_the_command_line_writes_it_and_tells_what_does_not_fit(
    code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(code.parent)
    network = trained(code)
    labelled(network, pictures(20, SIDE), code.parent / "x.npz")
    state = {key.replace("fc.", "head."): one for key, one in network.state_dict().items()}
    state["gate"] = torch.ones(2, 3, 5)  # of no known network
    torch.save(state, "w.pth")
    base = ["import", "w.pth", "--db", "lab.db", "--device", "cpu", "--npz", "x.npz"]
    told = CliRunner().invoke(main, base)
    assert "crumple import w.pth --class net.py:Net --trust-code" in told.output
    assert CliRunner().invoke(main, [*base, "--write-class", "own.py"]).exit_code == 0
    assert "class Net" in Path("own.py").read_text("utf-8")
    base += ["--class", "net.py:small"]
    told = CliRunner().invoke(main, base)
    assert told.exit_code == 2
    assert f"The code in {code} was not run" in told.output
    told = CliRunner().invoke(main, [*base, "--trust-code"])
    assert told.exit_code == 2
    assert "fc.weight         5x4      head.weight    5x4      another name?" in told.output
    told = CliRunner().invoke(main, ["--lines", *base])
    error = next(json.loads(line) for line in told.output.splitlines() if '"error"' in line)
    assert error["table"][1][2] == "head.weight"
    assert error["field"] == "class"
