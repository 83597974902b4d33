"""A short form of each campaign; ``python -m tests.campaign.NAME --rounds N`` is the long one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine.errors import CrumpleError
from tests.campaign import (
    archives,
    checkpoints,
    current_folder,
    damage,
    damage_meanwhile,
    damage_models,
    pictures,
    studies,
    torchvision_models,
    two_writers,
)
from tests.campaign.tally import Attempt, campaign

SHORT: dict[str, tuple[Attempt, int]] = {
    "studies": (studies.attempt, 120),
    "pictures": (pictures.attempt, 50),
    "archives": (archives.attempt, 50),
    "checkpoints": (checkpoints.attempt, 40),
    "current_folder": (current_folder.attempt, 2),
}


@pytest.mark.parametrize("name", SHORT)
def test_damaged_input_is_refused_in_one_sentence_or_used_as_what_it_says(name: str) -> None:
    attempt, rounds = SHORT[name]
    tally = campaign(name, attempt, rounds, seed=0)
    assert not tally.crashes, tally.report()
    assert tally.tried == rounds
    assert tally.accepted > 0 or name == "current_folder"  # its few rounds may all be refused


def test_two_processes_write_at_once_and_nothing_is_refused_or_lost(tmp_path: Path) -> None:
    for folder in ("study", "queue"):
        (tmp_path / folder).mkdir()
    study = two_writers.tags_beside_a_study(
        tmp_path / "study" / "lab.db", lambda rounds: rounds >= 5, two_writers.store_study
    )
    queued = two_writers.tags_beside_queueing(
        tmp_path / "queue" / "lab.db", lambda rounds: rounds >= 5, runs=400
    )
    for writes in (study, queued):
        assert writes.clean, writes.report()
        assert writes.tried > 4  # four rounds here, and a tag at least


def _outside(rng: random.Random, folder: Path) -> str:
    (folder / ".." / "stray").touch()
    return "stray"


def _wordy(rng: random.Random, folder: Path) -> str:
    raise CrumpleError("two\nlines")


def _bug(rng: random.Random, folder: Path) -> str:
    raise KeyError("bug")


@pytest.mark.parametrize("bad", [_outside, _wordy, _bug])
def test_the_tally_sees_strays_wordy_errors_and_bugs(bad: Attempt) -> None:
    assert len(campaign("bad", bad, 3, seed=0).crashes) == 3


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return damage.twin(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    "kind",
    [
        "bit of a number",
        "JSON of a run cut",
        "verdict of an image",
        "bit of a stage",
        "examples swapped between runs",
        "owner mark of another",
    ],
)
def test_damage_is_told_and_gives_no_wrong_number(kind: str, whole: Path) -> None:
    outcome = damage.attempt(whole, kind, 0)
    assert outcome.word == "told", (*outcome.wrong, *outcome.crashes)


@pytest.mark.parametrize("kind", damage_meanwhile.KINDS)
def test_damage_while_runs_are_written_is_told(kind: str) -> None:
    expected = ("harmless", "told") if kind == "database emptied" else ("told",)
    assert damage_meanwhile.attempt(kind, 0) in expected


@pytest.mark.parametrize("how", damage_models.HOW)
def test_a_damaged_model_is_not_used(how: str) -> None:
    assert damage_models.model(how, ".safetensors", 0) == "told"


def test_a_model_of_torchvision_goes_the_whole_way(tmp_path: Path) -> None:
    """This one asks for the versions that a state dict notes beside its tensors."""
    row = torchvision_models.tried("mnasnet0_5", tmp_path)
    assert list(row.outcomes) == ["import", "none", *torchvision_models.STEPS]
    assert not row.failed, row.failed
    assert (row.layers, row.alone) == (53, 0)
