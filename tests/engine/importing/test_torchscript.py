"""TorchScript: the weights are read, and no line of the code is run."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.errors import ModelError
from engine.importing.read import read
from engine.importing.state_dict_file import from_file
from engine.importing.torchscript import named_tensors, read_weights
from engine.models.files.safe_pickle import Part
from tests.helpers.layouts import KuangResNet18


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch would have nobody use TorchScript
        yield


def saved(net: torch.jit.ScriptModule, path: Path) -> Path:
    torch.jit.save(net, str(path))
    return path


class Spring(nn.Module):
    """Writes a file when torch makes it from an archive."""

    def __init__(self, trap: str) -> None:
        super().__init__()
        self.trap = trap

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.trap, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.trap, self.training = state[0], state[1]
        torch.save(self.trap, self.trap)


def test_the_weights_of_a_traced_network_are_recognised(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = KuangResNet18(width=4).eval()
    path = saved(torch.jit.trace(net, torch.rand(1, 3, 32, 32)), tmp_path / "net.pt")
    found = from_file(path, part=None, architecture=None, density=None, shape=None)
    assert found is not None
    assert found.architecture == "resnet-18-w4"
    assert found.format.startswith("TorchScript, its weights read and its code not run")
    expected = net.state_dict()
    assert found.state.keys() == expected.keys()
    assert all(torch.equal(found.state[key], one) for key, one in expected.items())


def test_a_scripted_network_gives_its_parameters_and_buffers(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.BatchNorm2d(4), nn.Dropout()))
    found = read_weights(saved(torch.jit.script(net), tmp_path / "net.pt"))
    assert found.keys() == net.state_dict().keys()
    assert all(torch.equal(found[key], one) for key, one in net.state_dict().items())


def test_code_that_writes_a_file_is_not_run(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    path = saved(torch.jit.script(Spring(str(trap))), tmp_path / "net.pt")
    with pytest.raises(ModelError, match="no weights under names"):
        read(path)
    assert not trap.exists()
    torch.jit.load(path)  # the trap works
    assert trap.exists()


def test_weights_frozen_into_the_code_are_told(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).eval()
    frozen = torch.jit.freeze(torch.jit.trace(net, torch.rand(1, 4)))
    with pytest.raises(ModelError, match=r"constants of its code.*torch\.jit\.freeze") as caught:
        read(saved(frozen, tmp_path / "net.pt"))
    assert "net.py" in caught.value.hint


def archive(path: Path, pickled: bytes, code: bytes = b"", *, deflated: bool = False) -> Path:
    kind = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("m/data.pkl", pickled, kind)
        target.writestr("m/code/__torch__.py", code, zipfile.ZIP_DEFLATED)
        target.writestr("m/constants.pkl", b"\x80\x02).")
    return path


def test_code_is_not_even_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.jit.save(torch.jit.script(nn.Linear(4, 3)), str(path))
    with zipfile.ZipFile(path, "a") as target:
        target.writestr("net/code/bomb.py", b"\0" * 2**28, zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    damaged = content.replace(b"bomb.py", b"b\xffmb.py", 1)  # its own header disagrees
    path.write_bytes(damaged)
    assert set(read_weights(path)) == {"weight", "bias"}


def test_a_tree_that_grows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"unpack to .* bytes"):
        read(archive(tmp_path / "a.pt", b"\x80\x02" + b"]" * 10**6 + b".", deflated=True))


MAKE = b"c__torch__\nNet\n)\x81}("
"""An object of TorchScript, and the beginning of its attributes."""


def key(name: str) -> bytes:
    return b"X" + len(name).to_bytes(4, "little") + name.encode()


def test_modules_in_more_places_than_anyone_has_are_refused(tmp_path: Path) -> None:
    """Each holds the next one twice: fifty of them stand in 2**50 places."""
    inner = MAKE + b"ubq\x00"
    for level in range(1, 50):
        inner = MAKE + key("a") + inner + key("b") + b"h" + bytes([level - 1])
        inner += b"ubq" + bytes([level])
    with pytest.raises(ModelError, match="more than 100,000 places"):
        read(archive(tmp_path / "a.pt", b"\x80\x02" + inner + b"."))


def test_a_module_within_itself_ends(tmp_path: Path) -> None:
    inside = b"\x80\x02c__torch__\nNet\n)\x81q\x00}(" + key("_packed_params") + b"h\x00ub."
    with pytest.raises(ModelError, match="no weights under names"):
        read(archive(tmp_path / "a.pt", inside))


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.", "asks for posix.system"),
        (b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.", "asks for builtins.eval"),
        (b"\x80\x04\x8c\x05posix\x8c\x06system\x93.", "could run code"),
    ],
)
def test_a_tree_that_asks_for_code_is_refused(pickled: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        read(archive(tmp_path / "a.pt", pickled))


def test_tensors_beyond_their_bytes_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(4, 3)), buffer)
    path = tmp_path / "net.pt"
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.namelist():
            content = source.read(entry)
            target.writestr(entry, content[:4] if "/data/" in entry else content)
    with pytest.raises(ModelError, match=r"damaged|larger"):
        read(path)


def part(state: object) -> Part:
    made = Part()
    made.__setstate__(state)
    return made


def test_packed_layers_give_their_weights_under_the_name_of_the_layer() -> None:
    """As torch.ao packs them: convolutions in one tuple, linear layers in a part of their own."""
    codes = torch.quantize_per_tensor(torch.rand(4, 3, 3, 3), 0.1, 0, torch.qint8)
    rows = torch.quantize_per_tensor(torch.rand(10, 4), 0.1, 0, torch.qint8)
    packed = part((rows, torch.ones(10), False, 12))
    tree = part({
        "training": False,
        "conv": part((3, 4, (3, 3), False, "zeros", codes, torch.zeros(4), 0.03, 0, False)),
        "head": part({"scale": 0.1, "_packed_params": packed}),
        "bare": part((3, codes, None, 0.03)),
    })  # fmt: skip
    found = named_tensors(tree, "net.pt")
    assert list(found) == ["conv.weight", "conv.bias", "head.weight", "head.bias", "bare.weight"]
    assert found["conv.weight"] is codes
    assert found["head.weight"] is rows
