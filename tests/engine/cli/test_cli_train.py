"""``crumple train``: a model from nothing into the library, resumed, refused in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from engine import catalog, models
from engine.cli.main import main
from engine.training import trainer

SHORT = ["--set", "epochs=3", "--set", "batch_size=64", "--train-limit", "300", "--limit", "100"]


def train(tmp_path: Path, *extra: str) -> Result:
    command = ["train", "digits-cnn", "--db", str(tmp_path / "lab.db"), "--device", "cpu", *extra]
    return CliRunner().invoke(main, command)


def test_the_model_is_in_the_library_and_runs_in_a_study(tmp_path: Path) -> None:
    done = train(tmp_path, "--dataset", "digits", "--name", "Mine", *SHORT)
    assert done.exit_code == 0, done.output
    card = catalog.model_card("mine")
    assert (card.origin, card.architecture, card.test_images) == ("trained", "digits-cnn", 100)
    assert card.recipe["params"]["epochs"] == 3
    assert f"{card.clean_accuracy:.1%}" in done.output
    assert models.fingerprint(models.load(card)) == card.fingerprint
    left = {path.suffix for path in (tmp_path / "lab.db.artifacts" / "models").iterdir()}
    assert left == {".json", ".safetensors"}
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "s"\n[dataset]\nname = "digits"\nlimit = 20\n[[model]]\nname = "mine"\n'
        '[[attack]]\nname = "fgsm"\neps = 0.1\n'
    )
    ran = CliRunner().invoke(main, ["run", str(study), "--db", str(tmp_path / "lab.db")])
    assert ran.exit_code == 0, ran.output


def test_killed_and_started_again_equals_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--dataset", "digits", *SHORT)
    assert train(tmp_path / "whole", *options).exit_code == 0
    whole = catalog.model_card("digits-cnn-standard").fingerprint
    step = trainer._Run.epoch

    def die(self: trainer._Run, number: int, *rest: object) -> float:
        if number == 3:
            raise MemoryError
        return step(self, number, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(trainer._Run, "epoch", die)
        assert isinstance(train(tmp_path / "torn", *options).exception, MemoryError)
    assert "digits-cnn-standard" not in catalog.section("models")
    seen: list[int] = []
    monkeypatch.setattr(
        trainer._Run, "epoch", lambda self, n, *rest: (seen.append(n), step(self, n, *rest))[1]
    )
    assert train(tmp_path / "torn", *options).exit_code == 0
    assert seen == [3]
    assert catalog.model_card("digits-cnn-standard").fingerprint == whole


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "There is nothing to learn from"),
        (["--dataset", "digits", "--set", "epochs=0"], "epochs is 0 but"),
        (["--dataset", "digits", "--set", "speed=1"], "no parameter 'speed'"),
        (["--dataset", "digits", "--set", "epochs"], "has no value"),
        (["--dataset", "digits", "--set", "lr=8/0"], "lr is '8/0' but"),
        (["--dataset", "digits", "--npz", "x.npz"], "only one of"),
        (["--dataset", "digits", "--root", "/"], "takes root only with"),
        (["--dataset", "digits", "--name", "digits-resnet"], "There is a model 'digits-resnet'"),
        (["--folder", "/nowhere"], "/nowhere"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, options: list[str], words: str
) -> None:
    done = train(tmp_path, *options)
    assert done.exit_code == 2
    assert words in done.output
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_card_tells_how_to_train_it_again(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    done = train(
        tmp_path, "--dataset", "digits", "--training", "pgd-at", "--set", "eps=0.1", "--seed", "7",
        "--set", "attack_steps=2", *SHORT,
    )  # fmt: skip
    torch.set_num_threads(threads)
    assert done.exit_code == 0, done.output
    stored = json.loads(next(tmp_path.rglob("*.json")).read_text())
    assert stored["recipe"]["training"] == "pgd-at"
    assert stored["recipe"]["seed"] == 7
    assert stored["recipe"]["params"]["eps"] == 0.1
