"""The lights: every flag is somewhere, nothing unchecked is green, one sentence on top."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from engine import catalog
from engine.diagnostics import unfinished_flag
from engine.report.evidence import Light, lights, summarise, worst
from engine.specs.choices import make_attack
from engine.statistics.run_checks import Check, run_checks
from engine.store import Writer
from engine.store.stage_keys import diagnostics_key
from tests.helpers.judged_runs import breaks, finish
from tests.helpers.pages import PAGES
from tests.helpers.runs_to_judge import NUMBERS, flag, run

ALONE = {"rivals": 0, "agree": False, "kinds": ["cross-entropy"]}
LATER = (
    "rivals",
    "targeted",
    "secants",
    "temperature",
    "unconstrained",
    "unfinished",
    "lost",
    "batch",
)
TOLD_FLAGS = re.findall(r"^\| `([a-z-]+)` \| (\w+) \|", PAGES["flags"], re.MULTILINE)


def lights_of(row: dict[str, Any], numbers: dict[str, Any] = NUMBERS) -> list[Light]:
    return lights(row, run_checks(row, numbers))


def by_id(found: list[Light]) -> dict[str, Light]:
    return {light.id: light for light in found}


def test_a_clean_run_is_green_with_its_numbers() -> None:
    found = lights_of(run())
    assert {light.level for light in found} == {"ok"}
    figures = {light.id: light.figure for light in found if light.figure}
    assert figures == {
        "zero": "0.0 % zero",
        "saturated": "2.0 % flat",
        "parent": "median cosine 0.83",
        "secants": "median cosine 0.90",
        "temperature": "breaks 50.0 %, rescaled 60.0 %",
        "unconstrained": "0.0 % left",
        "view": "100.0 % same",
        "random": "0.0 % change",
        "batch": "0.0 % depend",
        "chance": "95.0 % clean",
        "transfer": "70.0 % of 200 held",
        "black-box": "75.0 % of 64 images left held",
        "targeted": "97.5 % of 40 images left held",
        "rivals": "62.0 % survive all 3",
    }
    summary = summarise(run(), found)
    assert summary.level == "ok"
    assert summary.text.startswith("Evidence of robustness: 62.0 % survive everything that is")
    assert "63.2 % held against pgd-40 0.15" in summary.text
    assert "cross-entropy and gradient-free" in summary.text
    assert f"{len(found)} checks passed" in summary.text


@pytest.mark.parametrize(("id_", "level"), [*TOLD_FLAGS, ("of-tomorrow", "danger")])
def test_no_flag_is_lost_and_its_level_rules(id_: str, level: str) -> None:
    row = run(flags=[flag(id_, level)])
    found = lights_of(row)
    (shown,) = [light for light in found if f"The text of {id_}." in light.words]
    assert shown.level == level
    assert found[0] is shown, "what objects is read first"
    summary = summarise(row, found)
    if level == "info":
        assert summary.level == "ok"
    else:
        start = "Do not quote this number: " if level == "danger" else "Quote with care: "
        assert summary.level == level
        assert summary.text == f"{start}the text of {id_}."


def test_two_flags_of_one_check_share_its_light_and_several_are_counted() -> None:
    flags = [
        flag("no-transfer-check", "warning", "One."),
        flag("gradient-masking", "danger", "Two."),
        flag("probabilities", "warning", "Three."),
        flag("zero-gradient", "danger", "Four."),
    ]
    found = lights_of(run(flags=flags))
    both = by_id(found)["transfer"]
    assert (both.level, both.words) == ("danger", "One.\nTwo.")
    assert [light.level for light in found[:3]] == ["danger", "danger", "warning"]
    assert summarise(run(), found).text.endswith("And 1 more.")


def test_what_was_not_checked_is_not_green() -> None:
    spec = {"recipe": [], "attack": {"name": "fgsm", "params": {"eps": 0.15}}}
    nothing = {"environment": {}, "verdict": {}, "checks": {}}
    row = run(transfer_accuracy=None, black_box_accuracy=None, spec=spec, **nothing)
    found = by_id(lights_of(row, {}))
    for id_ in ("transfer", "black-box", "parent", *LATER):
        assert found[id_].level == "unknown"
        assert found[id_].words
    summary = summarise(row, list(found.values()))
    assert f"{3 + len(LATER)} not made" in summary.text


@pytest.mark.parametrize("id_", catalog.section("attacks"))
def test_the_end_of_the_search_is_green_only_where_the_engine_looks_at_it(id_: str) -> None:
    fields = catalog.find("attacks", id_).params.model_fields
    wanted = {"eps": 0.15, "steps": 40}
    given = {name: value for name, value in wanted.items() if name in fields}
    spec = make_attack({"name": id_, **given})
    # An attack that breaks ever more, up to its last step.
    curve = [
        {"step": step, "robust_accuracy": 1 - step / 80, "margin": 4 - step / 20, "active": 50}
        for step in range(41)
    ]
    looked_at = unfinished_flag(spec, curve, 100) is not None
    attack = spec.model_dump(mode="json")
    old = {"checks": {}, "environment": {"stages": {"diagnostics": 2}}}
    row = run(spec={"recipe": [], "attack": attack}, eps=given.get("eps"), **old)
    level = by_id(lights_of(row))["unfinished"].level
    assert level == ("ok" if looked_at else "unknown")


@pytest.mark.parametrize("status", ["waiting", "running", "failed", "cancelled"])
def test_an_unfinished_run_has_no_green_light(status: str) -> None:
    row = run(status=status, robust_accuracy=None)
    found = lights_of(row)
    assert {light.level for light in found} == {"unknown"}
    assert summarise(row, found).text == f"Not judged yet: the run is {status}."


def sentence(**changes: Any) -> tuple[str, str]:
    row = run(**changes)
    found = summarise(row, lights_of(row))
    return found.level, found.text


def test_one_attack_is_an_upper_bound_and_a_single_step_surely() -> None:
    level, text = sentence(verdict=ALONE, worst_case=0.632)
    assert level == "info"
    assert text.startswith("Upper bound: 63.2 % held against pgd-40 0.15; only cross-entropy")
    step = {"name": "fgsm", "params": {"eps": 0.15}}
    alone = {"spec": {"recipe": [], "attack": step}, "checks": {"traits": ["single step"]}}
    level, text = sentence(**alone, attack="fgsm 0.15", verdict=ALONE)
    assert level == "warning"
    assert text.startswith("Upper bound only: 63.2 % held against fgsm 0.15")
    assert sentence(verdict={})[0] == "info", "a run of before verdicts were taken"
    level, text = sentence(verdict={**ALONE, "rivals": 3}, worst_case=0.4)
    assert (level, "40.0 % survive everything that is stored" in text) == ("info", True)


def test_an_attack_of_several_kinds_needs_no_other() -> None:
    several = {"rivals": 0, "agree": True, "kinds": ["closest", "cross-entropy", "margin"]}
    level, text = sentence(verdict=several)
    assert level == "ok"
    assert "searches of 3 kinds agree (closest, cross-entropy and margin)" in text


@pytest.mark.parametrize(
    ("share", "low", "classes", "clean", "level"),
    [
        (0.037, 0.02, 10, 0.95, "info"),
        (0.09, 0.08, 100, 0.95, "info"),
        (0.12, 0.09, 10, 0.95, "info"),
        (0.12, 0.11, 10, 0.95, "ok"),
        (0.12, 0.11, 2, 0.95, "info"),
        (0.03, 0.025, 1000, 0.2, "ok"),
    ],
)
def test_few_per_cent_are_no_robustness(
    share: float, low: float, classes: int, clean: float, level: str
) -> None:
    """What guessing keeps, or less than a tenth of the clean accuracy, is none."""
    given = {"robust_accuracy": share, "ci_low": low, "clean_accuracy": clean}
    names = {"class_names": [str(one) for one in range(classes)]}
    found, text = sentence(**given, environment=names)
    assert found == level
    assert text.startswith("No evidence of robustness: ") == (level == "info")
    assert f"{share:.1%}".replace("%", " %") in text


def test_other_kinds_of_numbers_get_other_sentences() -> None:
    level, text = sentence(eps=None, robust_accuracy=0.0, verdict=ALONE)
    assert level == "info"
    assert text.startswith("Upper bound: the distances")
    closest = {"rivals": 1, "agree": True, "kinds": ["ddn", "fmn"]}
    level, text = sentence(eps=None, robust_accuracy=0.0, verdict=closest)
    assert (level, "the distances can be quoted, ddn and fmn agree" in text) == ("ok", True)
    level, text = sentence(robust_accuracy=0.0)
    assert (level, "no image held" in text) == ("info", True)


def test_where_there_is_nothing_to_doubt_no_light_is_green_or_alarmed() -> None:
    gradients = ("zero", "saturated", "parent", "secants", "temperature", "unconstrained", "view")
    free = by_id(lights_of(run(checks={"traits": []})))
    broken = by_id(lights_of(run(robust_accuracy=0.0)))
    for id_ in gradients:
        assert (free[id_].level, free[id_].words) == ("unknown", "The attack follows no gradient.")
        assert broken[id_].level == "unknown"
        assert "No image held" in broken[id_].words
    assert free["chance"].level == broken["chance"].level == "ok"


def test_an_attack_that_nobody_knows_gets_no_false_light() -> None:
    spec = {"recipe": [], "attack": {"name": "of-tomorrow", "params": {"steps": 40}}}
    found = by_id(lights_of(run(spec=spec, checks={})))
    assert found["unfinished"].level == "unknown"
    assert found["zero"].level == "ok"
    stored = {"traits": ["gradient", "iterative"], "came_to_its_end": True}
    found = by_id(lights_of(run(spec=spec, checks=stored)))
    assert found["unfinished"].level == "ok"


def test_the_gate_of_an_earlier_version_is_found_again(tmp_path: Path) -> None:
    with Writer(tmp_path / "lab.db") as store:
        run_id = finish(store, {"name": "pgd", "eps": 0.15, "steps": 40}, breaks(range(3)))
        row = store.run(run_id)
        keys = {
            version: diagnostics_key(row["variant_key"], row["data_key"], version)
            for version in (2, 6)
        }
        for share, key in ((0.2, keys[2]), (0.6, keys[6]), (0.9, "kept with the run")):
            numbers = {"numbers": {"gradient_zero_fraction": share}}
            store.put_stage(key, "diagnostics", numbers, 0.1)

        def figure(**columns: Any) -> str:
            store.end_run(run_id, "finished", **columns)
            return by_id(lights(store.run(run_id), store.checks(run_id)))["zero"].figure

        stages = {"stages": {"diagnostics": 6}}
        assert figure() == ""
        assert figure(environment=stages) == "60.0 % zero"
        assert figure(environment={"stages": {"diagnostics": 2}}) == "20.0 % zero"
        assert figure(environment=stages, checks={"gate": "kept with the run"}) == "90.0 % zero"


def test_what_was_said_of_a_run_is_stored_and_only_its_rivals_are_asked_again(
    tmp_path: Path,
) -> None:
    attack = {"name": "pgd", "eps": 0.15, "steps": 40}
    said = Check(
        "zero", "Gradient is not zero", "warning", "1 % zero", "As said then.", ("of-then",)
    )
    alone = Check("rivals", "No stored attack is stronger", "unknown", "", "Nothing was stored.")
    with Writer(tmp_path / "lab.db") as store:
        made = {"made": [said.to_dict(), alone.to_dict()], "traits": ["gradient"]}
        flags = [flag("of-then", "warning")]
        run_id = finish(store, attack, breaks(range(3)), checks=made, flags=flags)
        assert store.checks(run_id)[0] == said
        assert store.checks(run_id)[1].level == "unknown"
        found = lights(store.run(run_id), store.checks(run_id))
        assert [light.id for light in found] == ["zero", "rivals"], "no light for of-then alone"
        finish(store, {**attack, "name": "apgd-ce"}, breaks(range(20)))
        zero, rivals = store.checks(run_id)
        assert zero == said
        assert (rivals.level, rivals.flags) == ("danger", ("stronger-attack",))


def test_figures_in_a_sentence_do_not_end_it() -> None:
    text = "Likely masking: examples break 5/8 images (p = 0.02). Look again."
    row = run(flags=[flag("gradient-masking", "danger", text)])
    assert summarise(row, lights_of(row, {})).text == (
        "Do not quote this number: likely masking: examples break 5/8 images (p = 0.02)."
    )


@pytest.mark.parametrize(
    ("text", "start"),
    [("A rival won.", "a rival"), ("PGD lost.", "PGD"), ("L2 is odd.", "L2"), ("Look.", "look")],
)
def test_a_flag_goes_on_after_the_colon_as_one_sentence(text: str, start: str) -> None:
    row = run(flags=[flag("gradient-masking", "danger", text)])
    assert f": {start}" in summarise(row, lights_of(row, {})).text


def test_the_worst_flag_counts() -> None:
    assert worst([]) == "ok"
    assert worst([flag("a", "info"), flag("b", "danger"), flag("c", "warning")]) == "danger"
    assert worst([flag("a", "no such level")]) == "warning"
