"""Did the attack use what it had: was it still gaining at its end, did it lose what it found?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.attacks.search.notes import LOST, Note
from engine.diagnostics.checks import SIGNIFICANCE, tail
from engine.flags import Flag
from engine.specs.choices import AttackSpec

MIN_STEPS = 8
WINDOW = 10
STILL_SINKING = 0.05
STILL_BREAKING = 0.15
MIN_IMAGES = 5

_Point = Mapping[str, Any]


def came_to_its_end(attack: AttackSpec, curve: Sequence[_Point]) -> bool:
    """Whether it can be asked if an attack was still gaining: it made all its steps in a ball."""
    steps = int(attack.params.get("steps") or 0)
    if not attack.eps or steps < MIN_STEPS or "iterative" not in attack.traits or len(curve) < 2:
        return False
    end = int(curve[-1]["step"])
    return end >= steps and int(curve[0]["step"]) <= end - min(WINDOW, steps // 4)


def unfinished_flag(attack: AttackSpec, curve: Sequence[_Point], total: int) -> Flag | None:
    """Warning if an iterative attack in a ball was still gaining in its last steps.

    The window is the last quarter of the steps, at most 10. Either of two signs will do:

    - the mean margin of the survivors fell in it by more than 0.05 of what it fell over the
      whole attack (Pintor 2022, arXiv 2106.09947, indicator I4, on the margin: unlike the
      cross-entropy it does not flatten). Images leave when they break, and they are the ones
      with small margins, so leaving hides progress and does not feign it. Needs survivors: 5
      of them, and 5 % of the images;
    - more than 0.15 of all images that the attack broke, and at least 5, broke in it.

    Args:
        attack: of the run.
        curve: points with ``step``, ``robust_accuracy``, ``margin`` and ``active``, in order;
            step 0 is the clean image.
        total: images of the run.
    """
    if not came_to_its_end(attack, curve):
        return None
    steps = int(attack.params["steps"])
    window = min(WINDOW, steps // 4)
    last = curve[-1]
    before = [point for point in curve if point["step"] <= last["step"] - window]
    broke = round((before[-1]["robust_accuracy"] - last["robust_accuracy"]) * total)
    broken = round((curve[0]["robust_accuracy"] - last["robust_accuracy"]) * total)
    found = []
    if broke >= MIN_IMAGES and broke > STILL_BREAKING * broken:
        found.append(f"broke {broke} of its {broken} images")
    sunk = _sunk(curve, before[-1], total) if "drops broken" in attack.traits else 0.0
    if sunk > STILL_SINKING:
        found.append(f"lowered the margin of the survivors by {sunk:.0%} of its whole fall")
    if not found:
        return None
    text = (
        f"The attack was still gaining when it ended: its last {window} of {steps} steps "
        f"{' and '.join(found)}. More or longer steps may break more."
    )
    return Flag("unfinished", "warning", text)


def _sunk(curve: Sequence[_Point], before: _Point, total: int) -> float:
    """The share of the fall of the survivors' mean margin that came after a point."""
    last = curve[-1]
    margins = [point["margin"] for point in curve if point["margin"] is not None]
    if before["margin"] is None or last["margin"] is None or not max(margins) > min(margins):
        return 0.0
    if last["active"] < max(MIN_IMAGES, STILL_SINKING * total):
        return 0.0
    sunk: float = (before["margin"] - last["margin"]) / (max(margins) - min(margins))
    return sunk


def lost_flag(notes: Iterable[Note], total: int) -> Flag | None:
    """Report examples that the attack came across and did not return (indicator I3, same paper).

    Attacks that keep their best point cannot lose one. The level is warning where it changes
    the result significantly: from 5 images on.

    Args:
        notes: of all batches of the run.
        total: images of the run.
    """
    lost = sum(note.count for note in notes if note.kind == LOST)
    if not lost:
        return None
    text = (
        f"On {lost} of {total} images the attack came across an example and returned "
        "another point: kept, they would have made the robust accuracy up to "
        f"{lost / total:.1%} lower. Use an attack that keeps its best point, such as pgd."
    )
    # McNemar exact against the verdicts with those images broken too.
    significant = tail(lost, lost, 0.5) < SIGNIFICANCE
    return Flag("silent-success", "warning" if significant else "info", text)
