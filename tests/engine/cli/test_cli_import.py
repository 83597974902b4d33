"""Which images ``crumple import`` measures on, by its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from engine.cli import importing
from engine.cli.main import main
from engine.errors import ModelError
from engine.host import device
from engine.specs.dataset import DatasetSpec


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[DatasetSpec | None]:
    """What the doctor was asked to measure on; it refuses then."""
    seen: list[DatasetSpec | None] = []

    def refuse(request: Any, *_: object, **__: object) -> None:
        seen.append(request.dataset)
        raise ModelError("Seen enough.")

    monkeypatch.setattr(importing, "import_model", refuse)
    monkeypatch.setattr(device, "set_threads", lambda reserve=0: None)
    return seen


def call(tmp_path: Path, *options: str) -> Result:
    return CliRunner().invoke(
        main, ["import", "x.pt", "--db", str(tmp_path / "lab.db"), "--device", "cpu", *options]
    )


def test_a_place_and_a_crop_go_with_the_dataset(
    tmp_path: Path, asked: list[DatasetSpec | None]
) -> None:
    options = ("--dataset", "imagenet", "--root", "/val", "--resize", "232", "--crop", "224")
    result = call(tmp_path, *options, "--limit", "9")
    assert "Seen enough" in result.output
    assert asked == [DatasetSpec(name="imagenet", root="/val", resize=232, crop=224, limit=9)]
    call(tmp_path)
    assert asked[1] is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--root", "/x"), "--root needs --dataset"),
        (("--dataset", "digits", "--root", "/x"), "root only with the name"),
        (("--dataset", "digits", "--crop", "8"), "crop only with the name imagenet"),
        (("--dataset", "digits", "--limit", "0"), "limit is 0"),
        (("--dataset", "nope"), "'nope'"),
        (("--folder", "/a", "--npz", "/b"), "only one of"),
    ],
)
def test_options_that_do_not_go_together(
    tmp_path: Path, asked: list[DatasetSpec | None], options: tuple[str, ...], said: str
) -> None:
    result = call(tmp_path, *options)
    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output
    assert asked == []
