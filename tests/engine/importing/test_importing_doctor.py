"""The checkpoint doctor: each illness is named, and nothing sick is called healthy."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

from engine import catalog, models
from engine.catalog.models import library
from engine.cli.main import main
from engine.errors import CrumpleError, DataError, ModelError, SpecError
from engine.importing.doctor import Examined, Request, import_model
from engine.importing.report import report_text
from engine.importing.verdict import judge
from engine.models.normalised import Normalised
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Study
from engine.statistics.intervals import wilson
from engine.store.artifacts import models_of
from tests.helpers.checkpoints import ask, labelled, lively, pictures
from tests.helpers.layouts import KuangResNet18, SubnetConv, SubnetLinear, TradesWRN

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
State = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small networks are slower on several threads of a shared machine."""
    monkeypatch.setattr("engine.host.device.set_threads", lambda reserve=0: None)


@pytest.fixture
def clinic(tmp_path: Path) -> Callable[..., Examined]:
    """Import what a network was saved as; it is right about all images there are."""

    def visit(model: torch.nn.Module, content: object, **wish: Any) -> Examined:
        labelled(model, pictures(), tmp_path / "x.npz")
        torch.save(content, tmp_path / "m.pt")
        spec = DatasetSpec.model_validate({"npz": str(tmp_path / "x.npz")})
        request = Request(file=str(tmp_path / "m.pt"), dataset=spec, **wish)
        return import_model(request, tmp_path / "library")

    return visit


def healthy() -> torch.nn.Module:
    return lively(KuangResNet18(width=4), pictures())


def subnet(k: float = 0.1) -> torch.nn.Module:
    model = TradesWRN(10, 1, subnet=True)
    for module in model.modules():
        if isinstance(module, SubnetConv | SubnetLinear):
            module.k = k
    lively(model, pictures())
    return model


def test_a_healthy_one(clinic: Callable[..., Examined], tmp_path: Path) -> None:
    model = healthy()
    done = clinic(model, model.state_dict())
    report = done.report
    assert (report.health, report.clean_accuracy, report.images) == ("healthy", 1.0, 120)
    assert report.interval == tuple(float(end) for end in wilson(120, 120))
    assert report.normalisation is None
    assert "none" in next(one.label for one in report.normalisation_trials if one.chosen)
    assert report.parameters == sum(p.numel() for p in model.parameters())
    assert done.card is not None
    assert done.card.source is not None
    assert len(done.card.source.sha256) == 64
    assert done.card.interval == report.interval
    assert (done.card.origin, done.card.healthy) == ("imported", True)


def test_noise_is_not_called_healthy(clinic: Callable[..., Examined], tmp_path: Path) -> None:
    model = healthy()
    wrong = {key: torch.randn_like(value) if value.dim() > 1 else value
             for key, value in model.state_dict().items()}  # fmt: skip
    report = clinic(model, wrong).report
    assert report.health == "not healthy"
    assert "near guessing among 10 classes" in report.verdict
    assert report.model == ""
    assert not (tmp_path / "library").exists()
    kept = clinic(model, wrong, keep=True)
    assert kept.card is not None
    assert not kept.card.healthy
    assert "Not healthy" in kept.card.summary


def test_guessing_the_most_frequent_label_is_not_healthy() -> None:
    labels = torch.tensor([0, 1] * 60)
    opinion = judge(torch.eye(10)[torch.zeros(120, dtype=torch.int64)], labels, ())
    assert opinion.health == "not healthy"
    assert "near guessing among 10 classes (50.0% by the most frequent label)" in opinion.sentence
    assert judge(torch.eye(10)[labels] * 9, labels, ()).health == "healthy"


def test_probabilities_are_doubtful() -> None:
    labels = torch.arange(120) % 10
    logits = torch.eye(10)[labels] * 9
    opinion = judge(logits.softmax(dim=1), labels, ())
    assert opinion.health == "doubtful"
    assert "probabilities, not logits" in opinion.sentence
    assert judge(logits.log_softmax(dim=1), labels, ()).health == "healthy"


def test_k_is_missing_and_found(clinic: Callable[..., Examined]) -> None:
    model = subnet()
    done = clinic(model, {"state_dict": model.state_dict()})
    assert done.report.kept == 0.1
    assert done.report.health == "healthy"
    assert any("k is not in the file" in note for note in done.report.notes)
    assert torch.equal(ask(done.module, pictures()), ask(model, pictures()))
    assert [one.label for one in done.report.density_trials if one.chosen] == ["k = 0.1"]


def test_k_is_wrong(clinic: Callable[..., Examined]) -> None:
    model = subnet()
    report = clinic(model, model.state_dict(), density=0.5).report
    assert report.health != "healthy"
    assert "k = 0.5 is wrong: k = 0.1 is clearly more accurate" in report.verdict


def test_a_subnet_loaded_as_dense(clinic: Callable[..., Examined]) -> None:
    model = subnet()
    report = clinic(model, model.state_dict(), density=1.0).report
    assert report.health != "healthy"
    assert "a subnet was loaded as dense: with its mask at k = 0.1" in report.verdict


def test_zeros_tell_k(clinic: Callable[..., Examined]) -> None:
    model = subnet(0.2)
    content = model.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, SubnetConv | SubnetLinear):
            size = module.popup_scores.abs().flatten()
            low = size.sort().indices[: int((1 - 0.2) * size.numel())]
            content[f"{name}.weight"].flatten()[low] = 0
    report = clinic(model, content).report
    assert report.kept == 0.2
    assert any("zeros and the scores agree on k = 0.2" in note for note in report.notes)


def test_weights_masked_already_stay_as_they_are(clinic: Callable[..., Examined]) -> None:
    """One weight whose score is below the others is kept, as the file has it."""
    model = subnet(0.024)
    content = model.state_dict()
    for name, module in model.named_modules():
        if isinstance(module, SubnetConv | SubnetLinear):
            size = module.popup_scores.abs().flatten()
            low = size.sort().indices[: int((1 - 0.024) * size.numel())]
            content[f"{name}.weight"].flatten()[low] = 0
    stray = "block3.layer.0.conv2"
    at = content[f"{stray}.popup_scores"].abs().flatten().argmin()
    content[f"{stray}.weight"].flatten()[at] = 0.5
    done = clinic(model, content, keep=True)
    assert done.report.kept is not None
    assert 0.024 <= done.report.kept < 0.025
    stored = {key: one for key, one in content.items() if key.endswith("conv2.weight")}
    ours = [one for one in done.module.parameters() if one.shape == (64, 64, 3, 3)]
    assert any(torch.equal(ours[-1], one) for one in stored.values())
    assert int((ours[-1] == 0.5).sum()) == 1


def test_a_score_without_its_weight(clinic: Callable[..., Examined]) -> None:
    model = subnet()
    content = {key: one for key, one in model.state_dict().items() if key != "conv1.weight"}
    with pytest.raises(ModelError, match=r"scores of 'conv1' belong to no weight"):
        clinic(model, content)


def test_a_tensor_is_missing(clinic: Callable[..., Examined]) -> None:
    model = healthy()
    content = model.state_dict()
    del content["layer2.1.conv1.weight"]
    with pytest.raises(ModelError, match=r"lacks 1 tensor of resnet-18-w4 \(layer2.1.conv1.weig"):
        clinic(model, content)


def test_a_tensor_too_many(clinic: Callable[..., Examined]) -> None:
    model = healthy()
    content = {**model.state_dict(), "extra.weight": torch.zeros(3, 3)}
    with pytest.raises(ModelError, match=r"1 tensor that resnet-18-w4 has no place for \(extra.w"):
        clinic(model, content)


def test_a_tensor_of_another_shape(clinic: Callable[..., Examined]) -> None:
    model = healthy()
    content = {**model.state_dict(), "layer1.0.bn1.weight": torch.zeros(7)}
    with pytest.raises(ModelError, match=r"layer1.0.bn1.weight is 7 instead of 4"):
        clinic(model, content)


def test_the_wrong_architecture(clinic: Callable[..., Examined]) -> None:
    model = healthy()
    with pytest.raises(ModelError, match=r"does not fit wrn-28-4: it lacks .* those of resnet-18-"):
        clinic(model, model.state_dict(), architecture="wrn-28-4")
    with pytest.raises(ModelError, match="no architecture 'resnet-19'"):
        clinic(model, model.state_dict(), architecture="resnet-19")


def test_the_wrong_normalisation(clinic: Callable[..., Examined]) -> None:
    inner = KuangResNet18(width=4)
    model = lively(Normalised(inner, *IMAGENET), pictures())
    content = inner.state_dict()
    report = clinic(model, content, mean=(3.0,) * 3, std=(0.05,) * 3).report
    assert report.health != "healthy"
    assert "the normalisation is wrong: ImageNet constants is clearly more accurate" in (
        report.verdict
    )
    found = clinic(model, content).report
    assert found.normalisation is not None
    assert (found.normalisation.mean, found.normalisation.std) == IMAGENET
    assert found.health == "healthy"
    told = clinic(model, content, mean=IMAGENET[0], std=IMAGENET[1])
    assert told.report.health == "healthy"
    assert torch.equal(ask(told.module, pictures()), ask(model, pictures()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_half_precision(clinic: Callable[..., Examined], dtype: torch.dtype) -> None:
    model = healthy()
    content = {key: one.to(dtype) for key, one in model.state_dict().items()}
    done = clinic(model, content)
    assert any(str(dtype).removeprefix("torch.") in note for note in done.report.notes)
    assert {one.dtype for one in done.module.parameters()} == {torch.float32}
    assert done.report.health == "healthy"


def test_images_of_one_class_confirm_nothing() -> None:
    """A network that does not look at them is right about all of them."""
    labels = torch.full((120,), 3)
    opinion = judge(torch.eye(10)[labels] * 9, labels, ())
    assert (opinion.health, opinion.field) == ("doubtful", "dataset")
    assert "of one class" in opinion.sentence
    labels[0] = 4
    assert judge(torch.eye(10)[labels] * 9, labels, ()).health != "doubtful"


def test_a_prefix_on_some_names_only_comes_off(clinic: Callable[..., Examined]) -> None:
    model = healthy()
    content = {f"module.{key}" if "layer1" in key else key: one
               for key, one in model.state_dict().items()}  # fmt: skip
    told = clinic(model, content)
    assert told.report.architecture == "resnet-18-w4"
    assert torch.equal(ask(told.module, pictures()), ask(model, pictures()))


def test_not_finite(clinic: Callable[..., Examined]) -> None:
    model = healthy()
    content = model.state_dict()
    content["linear.bias"] = torch.full((10,), float("nan"))
    report = clinic(model, content).report
    assert report.health == "not healthy"
    assert any("Not finite: linear.bias" in note for note in report.notes)


def test_the_head_does_not_fit_the_images(tmp_path: Path) -> None:
    model = lively(KuangResNet18(width=4, classes=3), pictures())
    labelled(healthy(), pictures(), tmp_path / "x.npz")
    torch.save(model.state_dict(), tmp_path / "m.pt")
    spec = DatasetSpec.model_validate({"npz": str(tmp_path / "x.npz")})
    with pytest.raises(DataError, match="has 10 classes, but the head of the network has 3"):
        import_model(Request(file=str(tmp_path / "m.pt"), dataset=spec), None)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"mean": (0.5,)}, "belong together"),
        ({"mean": (0.5,) * 3, "std": (0.0,) * 3}, "above 0"),
        ({"mean": (0.5,), "std": (0.5,)}, "3 numbers each"),
        ({"mean": (float("nan"),) * 3, "std": (0.5,) * 3}, r"mean is \(nan, nan, nan\)"),
        ({"mean": (float("inf"),) * 3, "std": (0.5,) * 3}, "finite"),
        ({"mean": (0.5,) * 3, "std": (float("nan"),) * 3}, "finite"),
        ({"density": 0.0}, "above 0"),
        ({"density": float("nan")}, "above 0"),
    ],
)
def test_impossible_wishes(
    clinic: Callable[..., Examined], wish: dict[str, Any], message: str
) -> None:
    model = healthy()
    with pytest.raises(SpecError, match=message):
        clinic(model, model.state_dict(), **wish)


def crumple(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_command_line(tmp_path: Path) -> None:
    model = healthy()
    labelled(model, pictures(), tmp_path / "x.npz")
    torch.save(model.state_dict(), tmp_path / "My Net.pt")
    db = tmp_path / "a.db"
    where = ("--npz", tmp_path / "x.npz", "--db", db)
    done = crumple("import", tmp_path / "My Net.pt", *where, "--json")
    assert done.exit_code == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["model"] == "my-net"
    assert report["architecture"] == "resnet-18-w4"
    assert report["clean_accuracy"] == 1.0
    assert {"format", "normalisation", "interval", "verdict"} <= set(report)
    catalog.use_library(models_of(db))
    study = {"name": "s", "dataset": {"npz": str(tmp_path / "x.npz")},
             "model": [{"name": "my-net"}], "attack": [{"name": "fgsm"}]}  # fmt: skip
    assert Study.from_dict(study).runs()
    mine = {"title": "Mine, not the first", "remark": "as in the talk"}
    library.edit(catalog.model_card("my-net"), models_of(db), **mine)
    text = crumple("import", tmp_path / "My Net.pt", *where)
    assert "verdict       Healthy" in text.stdout
    again = catalog.model_card("my-net")
    assert len(again.history) == 2
    assert {"title": again.title, "remark": again.remark} == mine
    torch.save({**model.state_dict(), "linear.bias": torch.full((10,), 1e4)}, tmp_path / "o.pt")
    taken = crumple("import", tmp_path / "o.pt", *where, "--name", "My Net", "--keep")
    assert taken.exit_code == 2
    assert "There is a model 'my-net' already" in taken.stderr


def test_the_command_line_refuses_the_sick(tmp_path: Path) -> None:
    model = healthy()
    labelled(model, pictures(), tmp_path / "x.npz")
    noise = {key: torch.randn_like(one) if one.dim() > 1 else one
             for key, one in model.state_dict().items()}  # fmt: skip
    torch.save(noise, tmp_path / "m.pt")
    where = (tmp_path / "m.pt", "--npz", tmp_path / "x.npz", "--db", tmp_path / "a.db")
    done = crumple("import", *where)
    assert done.exit_code == 1
    assert "Not healthy" in done.stdout
    assert "--keep" in done.stderr
    assert not models_of(tmp_path / "a.db").exists()
    assert crumple("import", *where, "--keep").exit_code == 0
    assert crumple("import", *where, "--mean", "a,b,c").exit_code == 2
    assert crumple("import", *where, "--folder", tmp_path).exit_code == 2


def test_the_dataset_is_asked_for(tmp_path: Path) -> None:
    torch.save(healthy().state_dict(), tmp_path / "m.pt")
    with pytest.raises(CrumpleError, match=r"10 classes.*--dataset"):
        import_model(Request(file=str(tmp_path / "m.pt")), None)


def test_the_report_says_it_all(clinic: Callable[..., Examined]) -> None:
    model = subnet()
    text = report_text(clinic(model, model.state_dict()).report)
    for word in ("wrn-10-1", "k = 0.1", "sub_block1", "cifar10", "100.0%", "Healthy", "sparsest"):
        assert word in text


def test_bundled_weights_come_back(tmp_path: Path) -> None:
    """A grey network with our own names, on a dataset of the catalogue."""
    card = catalog.model_card("digits-resnet")
    module = models.load(card)
    torch.save(module.state_dict(), tmp_path / "digits.pt")
    spec = DatasetSpec.model_validate({"name": "digits"})
    done = import_model(Request(file=str(tmp_path / "digits.pt"), dataset=spec), None)
    assert done.report.architecture == "digits-resnet"
    assert done.report.clean_accuracy == pytest.approx(card.clean_accuracy, abs=1e-9)
