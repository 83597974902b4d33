"""Damaged and doctored checkpoints: refused in words or loaded whole, never a crash."""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.data.npz import open_npz
from engine.errors import CrumpleError
from engine.importing.candidate_model import Patient
from engine.importing.setting_trials import with_scaling
from engine.importing.source import export
from engine.importing.state_dict_file import from_file
from engine.importing.whole_network import from_program
from tests.helpers.layouts import KuangResNet18, TradesWRN

MANY = settings(max_examples=60, deadline=None, database=None, derandomize=True)
FEW = settings(max_examples=25, deadline=None, database=None, derandomize=True)


@cache
def state() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        return dict(KuangResNet18(width=4).state_dict())


@cache
def container(form: str) -> bytes:
    buffer = io.BytesIO()
    if form == "safetensors":
        from safetensors.torch import save

        return save(state())
    if form == "program":
        with torch.random.fork_rng(devices=[]):
            return export(KuangResNet18(width=4).eval(), (3, 8, 8), "net")
    torch.save({"state_dict": state()}, buffer, _use_new_zipfile_serialization=form == "zip")
    return buffer.getvalue()


def imported(content: Any, form: str = "zip", part: str | None = None) -> Patient | None:
    """What the importer makes of it; None if it refuses, and says why in one sentence."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / ("m.pt2" if form == "program" else "m.pt")
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        try:
            if form == "program":
                return from_program(path, (3, 8, 8))
            found = from_file(path, part=part, architecture=None, density=None, shape=None)
        except CrumpleError as error:
            assert_one_sentence(error)
            return None
    return found


def assert_one_sentence(error: CrumpleError) -> None:
    assert error.message
    assert "\n" not in error.message


def assert_whole(patient: Patient) -> None:
    """Every tensor of the network is the one from the file."""
    network = patient.network((3, 32, 32), None)
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert (
                torch.equal(
                    value,
                    patient.state[key],
                )
                or value.isnan().any()
            )


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@MANY
@given(data=st.data())
def test_flipped_bytes(form: str, data: st.DataObject) -> None:
    content = bytearray(container(form))
    # The first and last kilobytes are structure; the middle is numbers.
    near = st.one_of(
        st.integers(0, min(4000, len(content) - 1)),
        st.integers(max(0, len(content) - 8000), len(content) - 1),
        st.integers(0, len(content) - 1),
    )
    for place in data.draw(st.lists(near, min_size=1, max_size=4)):
        content[place] ^= data.draw(st.integers(1, 255))
    patient = imported(bytes(content))
    if patient is not None:
        assert patient.architecture == "resnet-18-w4"
        assert_whole(patient)


@FEW
@given(data=st.data())
def test_flipped_bytes_of_a_program(data: st.DataObject) -> None:
    content = bytearray(container("program"))
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[place] ^= data.draw(st.integers(1, 255))
    imported(bytes(content), "program")


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@FEW
@given(data=st.data())
def test_cut_off(form: str, data: st.DataObject) -> None:
    content = container(form)
    assert imported(content[: data.draw(st.integers(0, len(content) - 1))]) is None


@MANY
@given(
    st.binary(max_size=400), st.sampled_from([b"", b"PK\x03\x04", b"\x80\x02", b"\x40" + b"\0" * 7])
)
def test_any_bytes(content: bytes, head: bytes) -> None:
    assert imported(head + content) is None


@MANY
@given(data=st.data())
def test_renamed_dropped_and_reshaped(data: st.DataObject) -> None:
    changed = dict(state())
    key = data.draw(st.sampled_from(sorted(changed)))
    value = changed.pop(key)
    kind = data.draw(st.sampled_from(["drop", "rename", "shape", "again"]))
    if kind == "rename":
        changed[data.draw(st.text(max_size=20)) + key] = value
    elif kind == "shape":
        sizes = st.lists(st.integers(0, 9), max_size=5)
        changed[key] = torch.zeros(data.draw(sizes))
    elif kind == "again":
        changed |= {key: value, f"{key}.{data.draw(st.text(max_size=9))}": value}
    patient = imported(changed)
    same = {name: tuple(one.shape) for name, one in changed.items() if "num_b" not in name} == {
        name: tuple(one.shape) for name, one in state().items() if "num_b" not in name
    }
    counters = all(name in state() for name in changed)
    if patient is not None:
        assert_whole(patient)
        # A head of another size is another network, and whole.
        assert (same and counters) or key.startswith("linear.")


def test_the_unchanged_ones_are_imported() -> None:
    for form in ("zip", "legacy", "safetensors"):
        patient = imported(container(form))
        assert patient is not None
        assert_whole(patient)
    assert imported(container("program"), "program") is not None


@FEW
@given(st.lists(st.sampled_from(["module.", "model.", "basic_model.", "_orig_mod."]), max_size=4))
def test_any_stack_of_prefixes_is_taken_off(prefixes: list[str]) -> None:
    with torch.random.fork_rng(devices=[]):
        plain = TradesWRN(10, 1).state_dict()
    wrapped = {"".join(prefixes) + key: value for key, value in plain.items()}
    patient = imported(wrapped)
    assert patient is not None
    assert patient.architecture == "wrn-10-1"
    assert_whole(patient)


KEYS = st.one_of(
    st.integers(),
    st.booleans(),
    st.none(),
    st.floats(),
    st.text(max_size=9),
    st.tuples(st.integers(0, 9), st.text(max_size=3)),
    st.sampled_from(["state_dict", "net", "epoch", "best_prec1", "admm", "0", "None"]),
)
"""What torch saves as the key of a dictionary."""


@MANY
@given(data=st.data())
def test_any_keys(data: st.DataObject) -> None:
    numbers = st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.just(10**400))
    facts: dict[Any, Any] = data.draw(st.dictionaries(KEYS, numbers, max_size=4))
    places = data.draw(st.lists(KEYS, min_size=1, max_size=2, unique_by=(str, hash)))
    tree = {key: one for key, one in facts.items() if key not in places}
    tree |= {place: state() for place in places}
    named = data.draw(st.sampled_from([None, *map(str, places)]))
    patient = imported(tree, part=named)
    if named is not None or len(places) == 1:
        assert patient is not None
    if patient is not None:
        assert_whole(patient)


@MANY
@given(data=st.data())
def test_any_tensor_names_in_a_state_dict(data: st.DataObject) -> None:
    key = data.draw(KEYS.filter(lambda one: not isinstance(one, str)))
    assert imported({**state(), key: torch.zeros(3)}) is None


@MANY
@given(data=st.data())
def test_any_normalisation_inside(data: st.DataObject) -> None:
    numbers = st.lists(
        st.one_of(
            st.floats(-1, 1, width=32),
            st.sampled_from([0.5, 1.0, 0.0, float("nan"), float("inf"), -1.0, 1e30]),
        ),
        max_size=5,
    )
    usual = st.lists(st.floats(0.125, 1, width=32), min_size=1, max_size=4)
    mean, std = data.draw(st.one_of(numbers, usual)), data.draw(st.one_of(numbers, usual))
    found = {"normalize.mean": torch.tensor(mean), "normalize.std": torch.tensor(std)}
    patient = imported({**state(), **found})
    honest = (
        len(mean) == len(std)
        and len(mean) in (1, 3)
        and bool((found["normalize.mean"].abs() < 1e9).all())
        and bool(((found["normalize.std"] > 0) & (found["normalize.std"] < 1e9)).all())
    )
    assert (patient is not None) == honest
    if patient is not None:
        network = with_scaling(patient.network((3, 8, 8), None), patient.scaling)
        assert network.eval()(torch.rand(2, 3, 8, 8)).shape == (2, 10)


def npy(shape: tuple[int, ...], descr: str, content: bytes, version: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    write = (
        np.lib.format.write_array_header_1_0
        if version == (1, 0)
        else np.lib.format.write_array_header_2_0
    )
    write(buffer, header)
    return buffer.getvalue() + content


@MANY
@given(data=st.data())
def test_headers_of_arrays_that_lie(data: st.DataObject) -> None:
    sizes = st.one_of(st.integers(0, 9), st.sampled_from([3, 10**3, 10**7, 2**40, 2**70, -1]))
    shape = data.draw(
        st.one_of(st.lists(sizes, max_size=5).map(tuple), st.just((10**7, 1000, 1000, 3)))
    )
    descr = data.draw(st.sampled_from(["|u1", "<f4", "<i8", "|O", "<U9", "|V0"]))
    content = data.draw(st.binary(max_size=200))
    version = data.draw(st.sampled_from([(1, 0), (2, 0)]))
    labels = data.draw(st.booleans())
    whole = io.BytesIO()
    np.save(whole, np.zeros((5, 2, 2, 3), np.uint8) if labels else np.arange(5))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            doctored = npy(shape, descr, content, version)
            archive.writestr("x.npy", whole.getvalue() if labels else doctored)
            archive.writestr("y.npy", doctored if labels else whole.getvalue())
        try:
            source = open_npz(str(path), "test")
        except CrumpleError as error:
            assert_one_sentence(error)
        else:
            assert source is not None
            assert len(source.labels) == 5


def test_an_archive_that_claims_terabytes(tmp_path: Path) -> None:
    labels = io.BytesIO()
    np.save(labels, np.arange(5))
    for shape, message in (
        ((10**7, 1000, 1000, 3), "takes 27,939.7 GiB of memory, but at most 8 are used"),
        ((5, 100, 100, 3), "the header of x claims 150,000 bytes, but 64 are there"),
    ):
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.writestr("x.npy", npy(shape, "|u1", b"\0" * 64, (1, 0)))
            archive.writestr("y.npy", labels.getvalue())
        with pytest.raises(CrumpleError, match=message):
            open_npz(str(tmp_path / "x.npz"), "test")
