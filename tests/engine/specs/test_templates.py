"""Studies that come with the program can be started, and name what they need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine import catalog
from engine.errors import SpecError
from engine.host import paths
from engine.specs.study import Study
from tests.helpers.library import put_model

FILES = sorted((paths.resources() / "studies").glob("*.toml"))
TRAINED = {
    "resnet-18-at": "resnet-18",
    "resnet-18-standard": "resnet-18",
    "wrn-34-10-trades": "wrn-34-10",
    "wrn-28-4-trades": "wrn-28-4",
}
"""What the heads of the files say to train first."""


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Path]:
    for name, architecture in TRAINED.items():
        put_model(
            tmp_path, name, architecture=architecture, dataset="cifar10", shape=(3, 32, 32),
        )  # fmt: skip
    catalog.use_library(tmp_path)
    yield tmp_path
    catalog.use_library(None)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_each_can_be_started_and_says_nothing_in_vain(path: Path, library: Path) -> None:
    study = Study.from_toml(path)
    assert study.runs()
    assert not study.unused()
    said = re.findall(r"^#     (crumple (?:run|report) .*)$", path.read_text("utf-8"), re.MULTILINE)
    for line in said:
        assert path.name in line or f'"{study.name}"' in line


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_has_to_be_trained_first_is_said_in_its_head(path: Path) -> None:
    text = path.read_text("utf-8")
    needed = {name: TRAINED[name] for name in TRAINED if f'"{name}"' in text}
    told = re.findall(r"crumple train (\S+) .*--name (\S+)", text)
    assert {name: architecture for architecture, name in told} == needed
    if needed:
        with pytest.raises(SpecError, match="There is no model") as caught:
            Study.from_toml(path)
        assert "crumple train" in caught.value.hint


def test_the_benchmark_of_the_review_has_its_systems_under_its_attacks(library: Path) -> None:
    for names in (["paper-digits"], ["paper-cifar10", "paper-cifar10-hydra"]):
        studies = [Study.from_toml(paths.study_template(name)) for name in names]
        steps = {step.name for study in studies for recipe in study.recipes() for step in recipe}
        assert steps == {"hydra", "rap-admm", "ard", "rslad", "iad-1", "iad-2", "qat"}
        for study in studies:
            attacks = {run.attack.name for run in study.runs()}
            assert {"fb-pgd", "apgd-ce", "apgd-dlr", "pgd", "cw-l2", "square"} == attacks
