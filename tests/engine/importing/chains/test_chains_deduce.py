"""The images decide: the true network is chosen, asked for, or said not to be there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from engine.catalog.models.cards import read_card
from engine.cli.main import main
from engine.data.image_set import ImageSet
from engine.errors import DataError, ModelError, SpecError
from engine.host import device
from engine.importing import setting_trials
from engine.importing.candidate_model import Patient
from engine.importing.chains import race
from engine.importing.chains.candidates import Candidate, candidates
from engine.importing.chains.deduce import _decide, better_sizes, deduce, stands_out
from engine.importing.chains.geometry import Window
from engine.importing.chains.network import Activate, Operation, Pool, build
from engine.importing.chains.race import Race, Result, Runner
from engine.importing.chains.reading import Chain, read_chain
from engine.importing.doctor import Examined, Request, import_model
from engine.importing.report import Scaling, report_text
from engine.importing.setting_trials import Outcome
from engine.importing.state_dict_file import from_file
from engine.importing.verdict import Doubt, judge
from engine.models.files.bundle import load
from engine.models.normalised import Normalised
from engine.specs.dataset import DatasetSpec
from tests.helpers.checkpoints import ask, pictures
from tests.helpers.plain_networks import NETWORKS, fresh

CPU = torch.device("cpu")


def balanced(network: nn.Module, images: torch.Tensor) -> nn.Module:
    """Its last layer shifted so that every class has its turn."""
    with torch.no_grad():
        head = [one for one in network.modules() if isinstance(one, nn.Linear | nn.Conv2d)][-1]
        found = network(images)
        assert head.bias is not None
        head.bias -= found.mean(0)
    return network


def image_set(images: torch.Tensor, labels: torch.Tensor, classes: int) -> ImageSet:
    names = tuple(map(str, range(classes)))
    return ImageSet(images, labels, torch.arange(len(images)), names, "npz", "pictures")


def own_labels(name: str, count: int = 300) -> tuple[nn.Module, ImageSet]:
    """A network, and images whose labels are what it says: it alone is right about all."""
    shape = NETWORKS[name][1]
    images = pictures(count, shape[1], shape[0])
    network = balanced(fresh(name), images)
    logits = ask(network, images)
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], 1)
    return network, image_set(images, logits.argmax(1), logits.shape[1])


@pytest.mark.parametrize("name", ["PReLU", "ERAN, small", "norm behind pooling", "separable"])
def test_the_network_that_gave_the_labels_wins(name: str) -> None:
    network, images = own_labels(name)
    state = network.state_dict()
    chain = read_chain(state)
    assert chain is not None
    result = Race(candidates(chain, images.shape), state, images, [None], CPU).run()
    assert result.accuracy(result.winner) == 1
    assert not result.rivals
    chosen = build(result.winner.candidate.operations, state)
    assert torch.allclose(ask(chosen, images.images[:9]), ask(network, images.images[:9]), 1e-4)


def write(tmp_path: Path, state: dict[str, torch.Tensor], images: ImageSet) -> Request:
    torch.save({"state_dict": state}, tmp_path / "net.pt")
    pixels = (images.images[:] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    np.savez(tmp_path / "x.npz", x=pixels, y=images.labels.numpy())
    spec = DatasetSpec.model_validate({"npz": str(tmp_path / "x.npz")})
    return Request(str(tmp_path / "net.pt"), dataset=spec)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Examined, nn.Module, ImageSet, Path]:
    """An import of a network with a tanh behind a normalisation, from first to last."""
    folder = tmp_path_factory.mktemp("import")
    inner = nn.Sequential(
        *(nn.Conv2d(3, 5, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(80, 12), nn.Tanh(), nn.Linear(12, 4)),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for one in inner.parameters():
            nn.init.normal_(one, std=0.5)
    images = pictures(400, 8)
    network = balanced(Normalised(inner, (0.5,) * 3, (0.5,) * 3).eval(), images)
    labelled = image_set(images, ask(network, images).argmax(1), 4)
    request = write(folder, inner.state_dict(), labelled)
    return import_model(request, folder / "library"), network, labelled, folder


def test_it_comes_in_unaided_as_a_program(
    told: tuple[Examined, nn.Module, ImageSet, Path],
) -> None:
    done, network, images, folder = told
    report = done.report
    assert report.health == "healthy", report.verdict
    assert report.clean_accuracy == 1
    assert report.deduced == "tanh, 2x2 average pooling after convolution 1, padding 1"
    assert report.normalisation is not None
    assert report.normalisation.label == "0.5 and 0.5"
    assert report.layout == "a chain of 1 convolution and 2 linear layers"
    assert done.card is not None
    assert done.card.architecture == "exported"
    assert report.compressible
    assert any("networks that its shapes allow" in note for note in done.card.notes)
    card = read_card(folder / "library" / f"{done.card.id}.json")
    stored = load(card, folder / "library")
    few = images.images[:7]
    assert torch.allclose(ask(stored, few), ask(network, few), atol=1e-5)


def test_the_report_lists_what_was_tried(
    told: tuple[Examined, nn.Module, ImageSet, Path],
) -> None:
    report = told[0].report
    (chosen,) = [one for one in report.guesses if one.chosen]
    assert chosen.words == report.deduced
    assert chosen.accuracy == 1
    assert [one.accuracy for one in report.guesses] == sorted(
        (one.accuracy for one in report.guesses), reverse=True
    )
    text = report_text(report)
    assert f"deduced       {report.deduced}" in text
    assert f"* {chosen.number:>3}  100.0%" in text


def test_a_number_settles_it_without_trying(
    told: tuple[Examined, nn.Module, ImageSet, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    done, _, images, folder = told
    monkeypatch.setattr(Race, "run", None)
    request = write(folder, torch.load(folder / "net.pt")["state_dict"], images)
    numbers = {one.number: one.words for one in done.report.guesses}
    number = next(one.number for one in done.report.guesses if one.chosen)
    again = import_model(dataclasses.replace(request, candidate=number), None).report
    assert again.deduced == numbers[number] == done.report.deduced
    assert again.clean_accuracy == 1
    with pytest.raises(SpecError, match="candidate is 100000 but must be from 1 to "):
        import_model(dataclasses.replace(request, candidate=100_000), None)


def test_images_of_another_kind_end_in_the_way_out(
    told: tuple[Examined, nn.Module, ImageSet, Path], tmp_path: Path
) -> None:
    state, images = torch.load(told[3] / "net.pt")["state_dict"], told[2]
    random = torch.randint(4, (400,), generator=torch.Generator().manual_seed(0))
    request = write(tmp_path, state, image_set(images.images[:], random, 4))
    with pytest.raises(ModelError, match=r"None of \d+ networks that the shapes in net.pt") as e:
        import_model(request, None)
    assert "--class net.py:Net" in e.value.hint
    assert "Its shapes fit images of 8x8" in e.value.hint
    assert e.value.field == "dataset"


def patient_of(name: str) -> tuple[Patient, Chain]:
    state = fresh(name).state_dict()
    chain = read_chain(state)
    assert chain is not None
    return Patient("", "exported", "", chain.outputs, state=state, chain=chain), chain


@pytest.mark.parametrize(
    ("name", "side", "fitting", "words"),
    [
        ("one output", 9, 8, "wants 64 numbers, an image of 8x8 grey, but the images of 'pictures' "
         "are 9x9 grey: 81"),
        ("Wong, small", 200, 28, "makes the 588 numbers that the first linear layer reads "
         "(12 maps of 49 pixels): the images of 'pictures' are 200x200 grey; of 16x16 or "
         "20x20 or 28x28 they do"),
    ],
)  # fmt: skip
def test_images_of_another_size_are_told_which_it_takes(
    name: str, side: int, fitting: int, words: str
) -> None:
    patient, _ = patient_of(name)
    images = image_set(pictures(5, side, 1), torch.zeros(5, dtype=torch.int64), 2)
    with pytest.raises(DataError) as caught:
        deduce(patient, "net.pt", images, CPU, None, None, False, lambda _: None)
    assert words in caught.value.message
    assert f"--resize {fitting} --crop {fitting}" in caught.value.hint
    assert caught.value.field == "dataset"


def test_images_that_fit_only_oddly_are_doubted() -> None:
    """3x3 that keep the size, pooling, twice: 16 becomes 4. From 28, only a stride leads there."""
    network = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(128, 10)),
    )
    chain = read_chain(network.state_dict())
    assert chain is not None
    for side, sizes in ((16, ""), (28, "16x16")):
        shape = (1, side, side)
        found = candidates(chain, shape)
        better = better_sizes(chain, found, shape)
        assert better.startswith(sizes)
        assert bool(better) == bool(sizes)
    doubt = Doubt("odd size", better, 0.6, 0.6)
    assert doubt.field == "candidate"
    assert "16x16" in doubt.sentence()


def runner(number: int, right: int, count: int = 1000, loss: float = 0.5) -> Runner:
    """Right about the first so many images."""
    outcome = Outcome(
        "none", torch.arange(count) < right, torch.full((count,), loss, dtype=torch.float64)
    )
    return Runner(Candidate(number, (), 0.0, 1, f"network {number}"), {0: outcome})


def test_the_most_usual_wins_unless_another_is_clearly_more_accurate() -> None:
    alike = [runner(1, 900), runner(2, 903), runner(3, 899)]
    found = race._result(alike, 400)
    assert found.winner is alike[0]
    assert not found.rivals
    clear = [runner(1, 900), runner(2, 950), runner(3, 899)]
    assert race._result(clear, 400).winner is clear[1]


@pytest.mark.parametrize(
    ("right", "alone"),
    [((950, 940, 300), True), ((950, 940, 600), False), ((300, 290, 250), False)],
)
def test_strides_that_no_others_come_near_are_confirmed(
    right: tuple[int, int, int], alone: bool
) -> None:
    """The second of three is pooled like the first and activated otherwise; the third is not."""
    pooled, other = Pool(True, Window(2, 2)), Pool(True, Window(3, 2))
    kinds: list[tuple[Operation, ...]] = [
        (Activate("relu"), pooled), (Activate("tanh"), pooled), (Activate("relu"), other),
    ]  # fmt: skip
    runners = [runner(place + 1, count) for place, count in enumerate(right)]
    for one, kind in zip(runners, kinds, strict=True):
        one.candidate = dataclasses.replace(one.candidate, operations=kind)
    result = Result(runners[0], (), tuple(runners[1:]), 3)
    assert stands_out(result, chance=0.1) == alone
    only = Result(runners[0], (), (runners[1],), 2)
    assert not stands_out(only, chance=0.1)


def test_what_is_perhaps_better_is_asked_with_its_number() -> None:
    unclear = [runner(1, 900), runner(2, 908), runner(3, 700)]
    found = race._result(unclear, 400)
    assert found.winner is unclear[0]
    assert found.rivals == (unclear[1],)
    labels = torch.arange(1000) % 10
    patient = Patient("", "exported", "", 10)
    images = image_set(torch.zeros(1000, 1, 1, 1), labels, 10)
    assert _decide(patient, "net.pt", found, images, keep=False).number == 1
    opinion = judge(torch.eye(10)[labels] * 9, labels, patient.doubts)
    assert opinion.health == "doubtful"
    assert opinion.field == "candidate"
    assert "candidate 2 is perhaps more accurate (90.8% against 90.0%)" in opinion.sentence
    assert [(one.number, one.chosen) for one in patient.guesses] == [
        *((2, False), (1, True), (3, False))
    ]
    assert "next best, network 3: 70.0%" in patient.notes[0]


def test_one_that_is_often_wrong_is_to_be_confirmed() -> None:
    labels = torch.arange(1000) % 10
    images = image_set(torch.zeros(1000, 1, 1, 1), labels, 10)
    for right, doubted in ((400, True), (700, False)):
        patient = Patient("", "exported", "", 10)
        found = Result(runner(1, right), (), (runner(2, 300),), 2)
        _decide(patient, "net.pt", found, images, keep=False)
        assert bool(patient.doubts) == doubted
        assert all("confirm it by --candidate" in one.sentence() for one in patient.doubts)


@pytest.mark.parametrize(("right", "cost", "doubted"), [
    (700, 0.5, False), (700, 2.5, True), (950, 2.5, False),
])  # fmt: skip
def test_a_surprising_network_has_to_be_right_about_nearly_all(
    right: int, cost: float, doubted: bool
) -> None:
    """Digits that are not those of MNIST suit ELU better than the ReLU that was trained."""
    labels = torch.arange(1000) % 10
    images = image_set(torch.zeros(1000, 1, 1, 1), labels, 10)
    usual, winner = runner(1, 300), runner(2, right)
    winner.candidate = dataclasses.replace(winner.candidate, cost=cost)
    patient = Patient("", "exported", "", 10)
    _decide(patient, "net.pt", Result(winner, (), (usual,), 2), images, keep=False)
    assert [one.kind for one in patient.doubts] == ["weak candidate"] * doubted


def test_losers_see_few_images_and_the_rest_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of a race is bounded, and the true network is in it to the end."""
    network, images = own_labels("PReLU")
    state = network.state_dict()
    chain = read_chain(state)
    assert chain is not None
    seen: list[int] = []
    original = setting_trials.outcome

    def counted(label: str, model: nn.Module, images: ImageSet, rows: range, *rest: Any) -> Outcome:
        seen.append(len(rows))
        return original(label, model, images, rows, *rest)

    monkeypatch.setattr(setting_trials, "outcome", counted)
    everyone = candidates(chain, images.shape)
    result = Race(everyone, state, images, [None], CPU).run()
    assert result.tried == len(everyone)
    assert len(result.ranked) <= 24
    assert result.images == 300
    assert sum(seen) < len(everyone) * 24 + 120 * 64 + 60 * 192 + 24 * 300


def test_a_large_network_is_tried_in_fewer_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    patient, chain = patient_of("PReLU")
    monkeypatch.setattr(race, "_BUDGET", 40 * candidates(chain, (1, 8, 8))[0].macs * 16)
    images = image_set(pictures(5, 8, 1), torch.zeros(5, dtype=torch.int64), 3)
    few = Race(candidates(chain, (1, 8, 8)), patient.state, images, [None], CPU)
    assert 2 <= len(few._runners) <= 45  # some are less work than the first


def test_a_normalisation_that_is_told_is_the_one_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    patient, _ = patient_of("one output")
    _, images = own_labels("one output", 40)
    seen: list[list[Scaling | None]] = []

    class Ended(Exception):
        pass

    def stop(self: Race) -> Result:
        seen.append(list(self._options))
        raise Ended

    monkeypatch.setattr(Race, "run", stop)
    scaling = Scaling(label="as told", mean=(0.2,), std=(0.7,))
    for told in (scaling, None):
        with pytest.raises(Ended):
            deduce(patient, "net.pt", images, CPU, told, None, False, lambda _: None)
    assert seen[0] == [scaling]
    assert None in seen[1]
    assert len(seen[1]) > 2


def test_the_command_line_asks_and_takes_the_answer(
    told: tuple[Examined, nn.Module, ImageSet, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever comes out is to be confirmed here, and stored then."""
    monkeypatch.setattr("engine.importing.chains.deduce._CONVINCING", 1.1)
    monkeypatch.setattr(device, "set_threads", lambda reserve=0: None)
    options = ["import", str(told[3] / "net.pt"), "--npz", str(told[3] / "x.npz"), "--json"]
    options += ["--db", str(tmp_path / "x.db"), "--device", "cpu"]
    asked = CliRunner().invoke(main, options)
    assert asked.exit_code == 1
    assert "--candidate" in asked.stderr
    number = next(one["number"] for one in json.loads(asked.stdout)["guesses"] if one["chosen"])
    answered = CliRunner().invoke(main, [*options, "--candidate", str(number)])
    assert answered.exit_code == 0, answered.output
    assert json.loads(answered.stdout)["model"] == "net"


def test_a_subnet_of_a_chain_is_masked_by_its_scores(tmp_path: Path) -> None:
    state = dict(fresh("one output").state_dict())
    scores = {"1.popup_scores": torch.rand(16, 64), "3.popup_scores": torch.rand(1, 16)}
    torch.save({**state, **scores}, tmp_path / "net.pt")

    def read(density: float | None) -> Patient | None:
        path = tmp_path / "net.pt"
        return from_file(path, part=None, architecture=None, density=density, shape=None)

    patient = read(0.25)
    assert patient is not None
    assert patient.chain is not None
    assert int(patient.state["1.weight"].count_nonzero()) == 256
    one = scores["1.popup_scores"]
    left = one[patient.state["1.weight"] != 0]
    assert torch.equal(left.sort().values, one.flatten().sort().values[-256:])
    with pytest.raises(ModelError, match="scores of 2 layers") as caught:
        read(None)
    assert caught.value.field == "density"
