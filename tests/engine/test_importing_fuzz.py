"""Damaged and doctored checkpoints: refused in words or loaded whole, never a crash."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import CrumpleError
from engine.importing.patient import Patient, from_file, from_program
from engine.importing.source import export
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


def imported(content: bytes | dict[str, torch.Tensor], form: str = "zip") -> Patient | None:
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
            found = from_file(path, part=None, architecture=None, density=None, shape=None)
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
