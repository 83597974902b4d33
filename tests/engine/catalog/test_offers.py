"""The lists of published weights hold together, and one table tells what can be had."""

from __future__ import annotations

import importlib.metadata
import json
import re
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from engine import catalog
from engine.catalog.models import published as lists
from engine.catalog.models.offers import BUNDLED, IN_LIBRARY, TO_DOWNLOAD, Offer, offers
from engine.catalog.models.published import PACKAGES, PublishedWeights, find, published
from engine.cli.main import main
from engine.models.outside import is_published
from engine.specs.dataset import DatasetSpec
from engine.specs.model_fit import ImagesFound, look_at, misfit
from tests.helpers.library import put_model

CLASSES = {"imagenet": 1000, "cifar10": 10, "cifar100": 100}


def of(package: str) -> list[PublishedWeights]:
    return [one for one in published() if one.package == package]


def test_each_stands_once_and_can_be_imported() -> None:
    assert len({one.key for one in published()}) == len(published())
    assert len({(one.name, one.classes) for one in published()}) == len(published())
    assert all(is_published(one.name) for one in published())
    assert {one.package for one in published()} == set(PACKAGES)
    assert all(find(one.name, one.classes) is one for one in published())


@pytest.mark.parametrize("package", PACKAGES)
def test_numbers_are_possible_and_their_images_are_what_they_fit(package: str) -> None:
    for one in of(package):
        assert one.parameters > 10_000, one
        assert one.size_bytes is None or one.size_bytes > one.parameters / 2, one
        assert one.classes == CLASSES[one.dataset]
        images = DatasetSpec.model_validate(one.images())
        assert misfit(look_at(images), one) == "", one
        assert misfit(ImagesFound((1, 8, 8), 10), one) != ""


def test_what_robustbench_states_is_a_share_within_a_threat_model() -> None:
    for one in of("robustbench"):
        assert one.robust is not None
        assert one.clean_accuracy is not None
        assert 0 <= one.robust.accuracy <= one.clean_accuracy <= 1, one
        assert one.name.startswith(f"robustbench.{one.robust.norm}.")
        eps = Fraction(one.robust.eps)
        bounds = {"Linf": (Fraction(1, 255), Fraction(8, 255)), "L2": (Fraction(1, 4), Fraction(1))}
        low, high = bounds[one.robust.norm]
        assert low <= eps <= high, one
        assert one.licence
    standard = find("robustbench.Linf.Standard", 10)
    assert standard is not None
    assert Offer(published=standard).training == "standard"


def test_what_is_not_stated_stays_blank() -> None:
    for one in of("timm"):
        assert (one.clean_accuracy, one.robust, one.size_bytes, one.stated_by) == (
            *(None, None, None),
            "",
        )
        assert one.licence
    for one in of("torchvision"):
        assert (one.licence, one.robust) == ("", None)
        assert one.stated_by


def test_a_model_that_was_downloaded_takes_the_place_of_its_weights(tmp_path: Path) -> None:
    name = "robustbench.Linf.Wang2023Better_WRN-28-10"
    put_model(tmp_path, "wang", origin="downloaded", architecture=name, classes=100)
    catalog.use_library(tmp_path)
    try:
        rows = offers(catalog.models.cards.cards())
        assert rows[2].size_bytes
    finally:
        catalog.use_library(None)
    assert [one.state for one in rows[:3]] == [BUNDLED, BUNDLED, IN_LIBRARY]
    assert rows[2].robust == find(name, 100).robust  # type: ignore[union-attr]
    assert rows[2].training == "robust"
    left = [one.dataset for one in rows if one.card is None and one.id == name]
    assert left == ["cifar10"], "the other of this name is still to be downloaded"
    assert len({one.key for one in rows}) == len(rows) == len(published()) + 2


def test_the_bundled_pair_is_standard_and_robust() -> None:
    rows = offers(catalog.models.cards.cards())[:2]
    assert {one.id: one.training for one in rows} == {
        "digits-resnet": "standard",
        "digits-resnet-at": "robust",
    }


def test_a_package_that_is_missing_is_said_with_the_way_to_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"timm"}

    def distribution(name: str) -> object:
        if name not in there:
            raise importlib.metadata.PackageNotFoundError(name)
        return object()

    monkeypatch.setattr(lists.importlib.metadata, "distribution", distribution)
    states = {one.package: one.state for one in (Offer(published=each) for each in published())}
    assert states == {
        "torchvision": TO_DOWNLOAD,
        "timm": TO_DOWNLOAD,
        "robustbench": "needs pip install 'crumple[robustbench]'",
    }


def test_the_command_line_lists_them_for_people_and_programs(tmp_path: Path) -> None:
    def crumple(*options: str) -> Any:
        return CliRunner().invoke(main, ["list", *options, "--db", str(tmp_path / "x.db")])

    rows = json.loads(crumple("models", "--published", "--json").stdout)
    assert [(row["name"], row["dataset"]) for row in rows] == [
        (one.name, one.dataset) for one in published()
    ]
    row = next(row for row in rows if row["name"] == "robustbench.Linf.Wong2020Fast")
    assert (row["norm"], row["eps"], row["training"]) == ("Linf", "8/255", "robust")
    assert "AutoAttack" in row["evaluation"]
    lines = crumple("models", "--published").stdout.splitlines()
    assert len(lines) == len(rows) + 2
    assert any(re.match(r"torchvision.resnet18 +imagenet +11,689,512 +47 +69.8%", x) for x in lines)
    wrong = crumple("attacks", "--published")
    assert wrong.exit_code == 2
    assert "--published goes with models alone" in wrong.stderr


HEAD = (
    "| # | Model ID | <sub>Paper</sub> | Clean accuracy | <sub>Robust accuracy</sub> |\n|---|---|-|"
)
ROW = "| <sub>**1**</sub> | <sub>**{}**</sub> | <sub>[T](https://x.org/1)</sub> | 93.68% | 73.71% |"
README = f"""
### CIFAR-10

#### Linf, eps=8/255
{HEAD}
{ROW.format("A_b-1")}

#### Common Corruptions
{HEAD}
{ROW.format("C")}

## License
| a | b |
"""


def test_the_tables_of_robustbench_are_read_as_they_stand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import importlib.util

    file = Path(__file__).parents[3] / "packaging" / "published_weights.py"
    found = importlib.util.spec_from_file_location("published_weights", file)
    assert found is not None
    assert found.loader is not None
    script = importlib.util.module_from_spec(found)
    found.loader.exec_module(script)
    said = SimpleNamespace(get_payload=lambda: README)
    monkeypatch.setattr(script.importlib.metadata, "metadata", lambda name: said)
    ((dataset, norm, eps, cells),) = script._tables()
    assert (dataset, norm, eps) == ("cifar10", "Linf", "8/255")
    assert (cells["Model ID"], cells["Paper"]) == ("A_b-1", "https://x.org/1")
    assert (cells["Clean accuracy"], cells["Robust accuracy"]) == ("93.68%", "73.71%")
    exceptions = [({"cifar10"}, {"Linf"}, "A*", "Apache License 2.0")]
    assert script._licence(exceptions, "cifar10", "Linf", "A_b-1") == "apache-2.0"
    assert script._licence(exceptions, "cifar10", "L2", "A_b-1") == "mit"
