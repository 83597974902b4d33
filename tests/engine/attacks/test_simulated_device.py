"""The engine on a device with the rules of a GPU: nothing mixed, verdicts of the CPU.

The device is simulated (``tests.helpers.simulated_device``): its numbers are those of the CPU.
"""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import catalog, compression, models
from engine.attacks import AttackResult, run_attack
from engine.data import load
from engine.errors import DeviceLost
from engine.events import Event, RunProgress
from engine.host import device
from engine.importing.doctor import Request, import_model
from engine.pipeline import runner
from engine.pipeline.runner import Options
from engine.specs.dataset import DatasetSpec
from engine.specs.study import Study
from engine.store import ResultRow, Writer
from tests.helpers.checkpoints import labelled, lively, pictures
from tests.helpers.layouts import KuangResNet18
from tests.helpers.simulated_device import SimulatedDevice
from tests.helpers.studies import small_study

MODEL = "digits-resnet-at"
TIGHT = 900_000
"""Bytes for the models of a run and the search on a few images."""
ATTACKS: list[dict[str, Any]] = [
    {"name": "fgsm", "eps": 0.15},
    {"name": "pgd", "eps": 0.15, "steps": 10},
    {"name": "pgd", "eps": 0.15, "steps": 8, "targets": 2},
    {"name": "pgd-l2", "eps": 1.0, "steps": 8},
    {"name": "fb-pgd", "eps": 0.15, "steps": 8},
    {"name": "apgd-ce", "eps": 0.15, "steps": 10},
    {"name": "apgd-dlr", "eps": 0.15, "steps": 10},
    {"name": "apgd-t", "eps": 0.15, "steps": 6, "targets": 2},
    {"name": "fab-t", "eps": 0.15, "steps": 6, "targets": 2},
    {"name": "square", "eps": 0.15, "n_queries": 30},
    {"name": "square", "norm": "L2", "eps": 1.0, "n_queries": 20},
    {"name": "autoattack", "eps": 0.5},
    {"name": "cw-l2", "steps": 6, "binary_search_steps": 2},
    {"name": "ddn", "steps": 8},
    {"name": "fmn", "steps": 8},
    {"name": "deepfool", "steps": 4},
    {"name": "torchattacks.PGD", "eps": 0.15, "steps": 4},
]


def ident(spec: dict[str, Any]) -> str:
    return " ".join(str(spec[key]) for key in ("name", "norm", "targets") if key in spec)


# -- the device itself -------------------------------------------------------------------------


def test_devices_do_not_mix() -> None:
    with SimulatedDevice(count=2):
        here, there = torch.ones(3, device="cuda"), torch.ones(3, device="cuda:1")
        assert (here.device.index, there.device.index) == (0, 1)
        for other in (torch.ones(3), there):
            with pytest.raises(RuntimeError, match="same device"):
                here + other
        assert (here * torch.tensor(2.0)).device == here.device
        with pytest.raises(RuntimeError, match="same device"):
            torch.stack([here.sum(), torch.tensor(1.0)])
        assert here[torch.tensor([0, 2])].tolist() == [1.0, 1.0]
        with pytest.raises(TypeError, match="numpy"):
            here.numpy()
        assert here.cpu().numpy().sum() == 3
    assert here.device == torch.device("cpu")


def test_gradients_cross_devices_as_copies() -> None:
    weight = nn.Parameter(torch.tensor([2.0, 3.0]))
    with SimulatedDevice():
        (weight.to("cuda") ** 2).sum().backward()
        assert weight.grad is not None
        assert weight.grad.device == torch.device("cpu")
        assert weight.grad.tolist() == [4.0, 6.0]


def test_memory_ends_and_is_given_back() -> None:
    with SimulatedDevice(memory=4000) as gpu:
        one = torch.ones(500, device="cuda")
        view = one[100:]
        with pytest.raises(torch.OutOfMemoryError):
            one * torch.ones(500, device="cuda")
        del one
        assert gpu.allocated() == 2000
        del view
        assert gpu.allocated() == 0


def test_launches_and_waits_are_counted() -> None:
    with SimulatedDevice() as gpu:
        x = torch.ones(4, device="cuda")
        assert (gpu.launches, gpu.waits.total()) == (1, 0)
        y = (x[1:] * 2).view(3, 1)
        assert (gpu.launches, gpu.waits.total()) == (2, 0)
        for wait in (
            lambda: y.sum().item(),
            lambda: y.nonzero(),
            lambda: x[x > 0],
            lambda: x.to("cpu"),
            lambda: torch.as_tensor(0, device="cuda"),
            lambda: x.__setitem__(torch.tensor([1], device="cuda"), 3.0),
        ):
            before = gpu.waits.total()
            wait()
            assert gpu.waits.total() > before
        before = gpu.waits.total()
        x.index_fill_(0, torch.zeros(1, dtype=torch.int64, device=x.device), 3.0)
        x.new_zeros(())
        assert gpu.waits.total() == before


def test_what_the_engine_takes() -> None:
    with SimulatedDevice(count=2):
        assert device.resolve("auto") == device.resolve("cuda") == torch.device("cuda:0")
        assert device.resolve("cuda:1") == torch.device("cuda:1")
        assert [name for name, _ in device.found()] == ["cpu", "cuda:0", "cuda:1"]
    for kind in ("mps", "xpu"):
        with SimulatedDevice(kind, float64=False):
            assert device.resolve("auto") == torch.device("cpu")
            with pytest.raises(Exception, match="float64"):
                device.resolve(kind)


# -- the engine on it --------------------------------------------------------------------------


def test_every_built_in_attack_is_tried() -> None:
    built_in = {one for one in catalog.section("attacks") if "." not in one}
    assert built_in <= {spec["name"] for spec in ATTACKS}


def images() -> tuple[Tensor, Tensor]:
    digits = load(DatasetSpec(name="digits", limit=6), 0)
    return digits.images[:], digits.labels[:]


def attacked(spec: dict[str, Any], place: str, **options: Any) -> AttackResult:
    model, (x, y) = models.load(catalog.model_card(MODEL)), images()
    return run_attack(model.to(place), x.to(place), y.to(place), spec, **options)


@pytest.mark.parametrize("spec", ATTACKS, ids=ident)
def test_verdicts_are_those_of_the_cpu(spec: dict[str, Any]) -> None:
    expected = attacked(spec, "cpu", precision="fp32")
    with SimulatedDevice():
        found = attacked(spec, "cuda", precision="fp32")
        assert found.adversarial.device == torch.device("cuda:0")
        assert torch.equal(found.broken.cpu(), expected.broken)


def test_a_device_with_units_for_bf16_searches_in_it() -> None:
    spec = {"name": "pgd", "eps": 0.2, "steps": 16}
    expected = attacked(spec, "cpu", precision="bf16")
    with SimulatedDevice(capability=(8, 0)):
        found = attacked(spec, "cuda")
        assert found.precision == "bf16"
        assert torch.equal(found.broken.cpu(), expected.broken)


@pytest.mark.parametrize("name", ["pgd", "pgd-l2", "fb-pgd", "apgd-ce", "apgd-dlr"])
def test_a_step_waits_for_the_device_once_in_a_stride_at_most(name: str) -> None:
    """Verdict, shrinking and telemetry share one stop in eight steps, of four waits at most.

    What is found on the way costs a handful more, once; a wait in each step would be 64.
    """
    waits = []
    for steps in (16, 80):
        with SimulatedDevice() as gpu:
            model, (x, y) = models.load(catalog.model_card(MODEL)).to("cuda"), images()
            spec = {"name": name, "eps": 1e-4, "steps": steps}
            run_attack(model, x.to("cuda"), y.to("cuda"), spec, precision="fp32")
            waits.append(gpu.waits.total())
    assert waits[1] - waits[0] <= 64 / 8 * 4 + 8, gpu.waits


def study(**changes: Any) -> Study:
    tables: dict[str, Any] = {
        "dataset": {"name": "digits", "limit": 12, "train_limit": 64},
        "compression": [{"name": "finetune", "epochs": 1, "precision": "fp32"}],
        "attack": [{"name": "fmn", "steps": 5}],
    }
    return small_study(**{**tables, **changes})


def go(folder: Path, place: str, spec: Study) -> list[ResultRow]:
    """The rows of a finished study, with what is compared, and one of its transfers."""
    folder.mkdir(exist_ok=True)
    with Writer(folder / "lab.db") as store:
        runner.run(spec, store, lambda event: None, options=Options(place, "fp32"))
        rows = []
        for row in store.results():
            run = store.run(row["run_id"])
            assert row["status"] == "finished", f"{run['message']} {run['traceback']}"
            told: ResultRow = {name: row[name] for name in SAME}
            told["flags"] = sorted(flag["id"] for flag in row["flags"])
            told["verdicts"] = [one["broken"] for one in store.samples(row["run_id"])]
            rows.append(told)
        pairs = [(one["status"], one["accuracy"]) for one in store.transfers()]
        assert {status for status, _ in pairs} <= {"finished"}
        return [*rows, {"pairs": pairs}]


SAME = ("compression", "clean_accuracy", "robust_accuracy")


def batches(folder: Path) -> list[int]:
    with Writer(folder / "lab.db") as store:
        return [batch["size"] for batch in store.batches(1)]


def test_a_study_with_a_training_and_its_transfers(tmp_path: Path) -> None:
    expected = go(tmp_path / "cpu", "cpu", study())
    with SimulatedDevice() as gpu:
        assert go(tmp_path / "gpu", "auto", study()) == expected
        assert gpu.emptied > 0


def test_an_engine_that_rests_holds_nothing_of_the_device(tmp_path: Path) -> None:
    spec = study(compression=[], attack=[{"name": "fgsm", "eps": 0.5}])
    with SimulatedDevice() as gpu, Writer(tmp_path / "lab.db") as store:
        engine = runner.Runner(store, lambda event: None, Options("auto", "fp32"))
        (run_id,) = engine.enqueue(spec).run_ids
        engine.execute(run_id, lambda: False)
        assert store.run(run_id)["status"] == "finished"
        assert gpu.allocated() > 0, "the next run may need the same"
        before = gpu.emptied
        engine.rest()
        assert gpu.allocated() == 0
        assert gpu.emptied > before


def test_memory_for_a_few_images_is_enough(tmp_path: Path) -> None:
    spec = study(
        dataset={"name": "digits", "limit": 40},
        compression=[],
        attack=[{"name": "fmn", "steps": 2}],
    )
    expected = go(tmp_path / "cpu", "cpu", spec)
    assert batches(tmp_path / "cpu") == [40]
    with SimulatedDevice(memory=TIGHT) as gpu:
        assert go(tmp_path / "gpu", "auto", spec) == expected
        assert gpu.emptied > 1
    assert 1 < max(batches(tmp_path / "gpu")) < 40, "it was tight, and no tighter than that"


def test_a_device_lost_in_the_middle_stops_the_queue_where_it_is(tmp_path: Path) -> None:
    with SimulatedDevice() as gpu, Writer(tmp_path / "lab.db") as store:

        def lose(event: Event) -> None:
            if isinstance(event, RunProgress):
                gpu.lost = "an illegal memory access was encountered"

        with pytest.raises(DeviceLost, match="illegal memory access"):
            runner.run(study(), store, lose, options=Options("auto", "fp32"))
        states = [row["status"] for row in store.results()]
        assert sorted(states) == ["failed", "waiting"]


def test_the_variant_before_is_gone_when_the_next_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[nn.Module]] = []
    living: list[int] = []
    apply = compression.apply_step

    def watched(variant: Any, *rest: Any) -> Any:
        living.append(sum(one() is not None for one in made))
        return apply(variant, *rest)

    place = runner.Variants._place

    def placed(self: Any, *rest: Any) -> Any:
        found = place(self, *rest)
        made.append(weakref.ref(found.deployed))
        return found

    monkeypatch.setattr(compression, "apply_step", watched)
    monkeypatch.setattr(runner.Variants, "_place", placed)
    go(tmp_path, "cpu", study())
    assert living == [0]


def test_an_import_says_on_the_device_what_it_says_on_the_cpu(tmp_path: Path) -> None:
    model = lively(KuangResNet18(width=4), pictures())
    labelled(model, pictures(), tmp_path / "x.npz")
    torch.save(model.state_dict(), tmp_path / "m.pt")
    spec = DatasetSpec.model_validate({"npz": str(tmp_path / "x.npz")})
    request = Request(file=str(tmp_path / "m.pt"), dataset=spec)
    expected = import_model(request, tmp_path / "one").report
    with SimulatedDevice() as gpu:
        found = import_model(request, tmp_path / "two", device=device.resolve("auto")).report
        assert gpu.launches > 0
    assert found.health == expected.health == "healthy"
    assert found.clean_accuracy == expected.clean_accuracy
    assert found.normalisation_trials == expected.normalisation_trials
