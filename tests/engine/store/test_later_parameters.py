"""Attacks that got a parameter later: what was stored before is found again."""

from __future__ import annotations

from typing import Any

import pytest

from engine.catalog import Origin
from engine.report.identity import attack_key, family, variant_key
from engine.specs.choices import AttackSpec, Step, make_step
from engine.specs.study import Run, Study, content_key
from engine.store.stage_keys import STAGE_VERSIONS, run_key, survivors_key

BEFORE: dict[str, dict[str, Any]] = {
    "ddn": {"steps": 100, "init_epsilon": 1.0, "gamma": 0.05},
    "fmn": {"norm": "L2", "steps": 100, "max_step_size": 1.0, "gamma": 0.05},
    "cw-l2": {
        **{"binary_search_steps": 9, "steps": 10_000, "step_size": 0.01, "confidence": 0.0},
        **{"initial_const": 0.001, "abort_early": True},
    },
}
"""All that a key had of each."""


def run(mode: dict[str, Any], *attacks: dict[str, Any]) -> Run:
    tables = {"name": "s", "dataset": {"name": "digits"}, "model": [{"name": "digits-resnet"}]}
    return Study.from_dict({**tables, **mode, "attack": list(attacks)}).runs()[0]


@pytest.mark.parametrize("name", BEFORE)
def test_the_key_of_the_form_of_before_is_the_key_of_before(name: str) -> None:
    asked = run({}, {"name": name})
    table = {"name": name, **BEFORE[name]}
    version = STAGE_VERSIONS["attack"]
    assert run_key(asked, "data", "variant", "fp32") == content_key(
        "attack", version, "data", "variant", table, 0, "fp32"
    )
    assert survivors_key("run", asked.attack, [3]) == content_key(
        "black-box", STAGE_VERSIONS["black-box"], "run", table, [3]
    )
    plain = run({}, {"name": name, "form": "as published"})
    assert run_key(plain, "data", "variant", "fp32") == content_key(
        "attack", version, "data", "variant", {**table, "form": "as published"}, 0, "fp32"
    )


def test_within_a_worst_case_too() -> None:
    """Whose attacks stand in its table as specs have them, with what is not given."""
    pgd = {"name": "pgd-l2", "eps": 0.5}
    asked = run({"mode": "worst-case"}, pgd, {"name": "ddn"})
    members = asked.attack.params["attacks"]
    before = [
        {**one, "params": {name: value for name, value in one["params"].items() if name != "form"}}
        for one in members
    ]
    assert before != list(members)
    assert any(None in one["params"].values() for one in before)
    table = {**asked.attack.to_table(), "attacks": before}
    assert run_key(asked, "data", "variant", "fp32") == content_key(
        "attack", STAGE_VERSIONS["attack"], "data", "variant", table, 0, "fp32"
    )
    plain = run({"mode": "worst-case"}, pgd, {"name": "ddn", "form": "as published"})
    keys = {run_key(one, "data", "variant", "fp32") for one in (asked, plain)}
    assert len(keys) == 2


@pytest.mark.parametrize("name", BEFORE)
def test_a_report_takes_what_was_stored_before_for_the_same_attack(name: str) -> None:
    def row(params: dict[str, Any]) -> Any:
        spec = {"attack": {"name": name, "params": params}, "recipe": []}
        return {"norm": "L2", "model": "m", "compression": "none", "spec": spec}

    now = run({}, {"name": name}).attack.params
    assert "form" in now
    before = {key: value for key, value in now.items() if key != "form"}
    assert attack_key(row(now)) == attack_key(row(before))
    assert attack_key(row({**now, "form": "as published"})) != attack_key(row(before))


def test_and_for_the_same_variant() -> None:
    def row(params: dict[str, Any]) -> Any:
        spec = {"recipe": [{"name": "hydra", "params": params}]}
        return {"model": "m", "compression": "hydra", "spec": spec}

    now = make_step({"name": "hydra"}).params
    later = ("passes", "second_stream", "selection")
    assert set(later) <= set(now)
    before = {key: value for key, value in now.items() if key not in later}
    for key in (variant_key, family):
        assert key(row(now)) == key(row(before))
        assert key(row({**now, "passes": "as coded"})) != key(row(before))


OUTSIDE = Origin(name="mine", sha256="0" * 64)
LATER = [("selection", "held-out"), ("attack_start", "in range")]


@pytest.mark.parametrize("later", LATER)
def test_a_method_from_outside_keeps_its_own_parameters_of_these_names(
    later: tuple[str, str],
) -> None:
    """In keys as they were, and alone as within a worst case."""
    params = dict([later])
    attack = AttackSpec(name="mine", params=params, origin=OUTSIDE)
    given = {"name": "mine", **params, "origin": OUTSIDE.model_dump()}
    assert survivors_key("run", attack, [3]) == content_key(
        "black-box", STAGE_VERSIONS["black-box"], "run", given, [3]
    )
    members = [attack.model_dump(), {"name": "pgd", "params": params}]
    worst = AttackSpec(name="worst-case", params={"attacks": members})
    told = {"name": "worst-case", "attacks": [members[0], {"name": "pgd", "params": {}}]}
    assert survivors_key("run", worst, [3]) == content_key(
        "black-box", STAGE_VERSIONS["black-box"], "run", told, [3]
    )


@pytest.mark.parametrize("later", LATER)
def test_and_in_reports_it_is_not_the_same_without_them(later: tuple[str, str]) -> None:
    def row(params: dict[str, Any], origin: Origin | None) -> Any:
        attack = AttackSpec(name="mine", params=params, origin=origin)
        step = Step(name="mine", params=params, origin=origin)
        spec = {"attack": attack.model_dump(), "recipe": [step.model_dump()]}
        return {"norm": "L2", "model": "m", "compression": "mine", "spec": spec}

    for key in (attack_key, variant_key, family):
        assert key(row(dict([later]), OUTSIDE)) != key(row({}, OUTSIDE))
        assert key(row(dict([later]), None)) == key(row({}, None))
