"""In which order norm, activation and pooling stand behind a layer, as far as numbers tell."""

from __future__ import annotations

from typing import Literal

from engine.importing.chains.reading import Step

Word = Literal["norm", "act", "pool", "reduce", "flatten", "flat norm"]
Style = tuple[Word, ...]

STYLES: dict[Style, float] = {
    ("norm", "act", "pool"): 0.0,
    ("act", "norm", "pool"): 2.0,
    ("act", "pool", "norm"): 2.5,
    ("norm", "pool", "act"): 2.0,
    ("pool", "norm", "act"): 3.5,
}
"""Orders, and how unusual each is; the first is the common one."""


def arranged(
    step: Step, style: Style, *, pooled: bool, reduced: bool, flattened: bool
) -> tuple[Word, ...] | None:
    """What stands behind a layer, in an order that the gaps in its numbers allow.

    Args:
        step: the layer and what is known of the place behind it.
        style: the order to prefer.
        pooled: whether a pooling stands there.
        reduced: whether global or adaptive pooling does.
        flattened: whether the maps are flattened there.

    Returns:
        Without an activation only if no order leaves room for one; None if there is no room.
    """
    left = {"pool"} if pooled else set()
    norm = any(one.kind == "norm" and not step.flat(one) for one in step.small)
    left |= {"norm"} if norm else set()
    tail: list[Word] = ["reduce"] if reduced else []
    tail += ["flatten"] if flattened else []
    tail += ["flat norm"] if any(step.flat(one) for one in step.small) else []
    for wanted in (left | {"act"}, left):
        for order in (style, *STYLES):
            words: tuple[Word, ...] = (*(one for one in order if one in wanted), *tail)
            if _consistent(step, words):
                return words
    return None


def may_stand(step: Step, *, pooled: bool, reduced: bool, flattened: bool) -> bool:
    """Whether there is room for them beside an activation."""
    best = next(iter(STYLES))
    here = arranged(step, best, pooled=pooled, reduced=reduced, flattened=flattened)
    bare = arranged(step, best, pooled=False, reduced=False, flattened=flattened)
    return here is not None and ("act" in here or bare is None or "act" not in bare)


def unexplained(step: Step, words: tuple[Word, ...]) -> int:
    """Layers without weights that the numbers tell of and these do not name."""
    counts = _counts(step, words)
    if counts is None:
        return 0
    return sum(gap - count for gap, count in zip(step.gaps, counts, strict=True) if gap is not None)


def _consistent(step: Step, words: tuple[Word, ...]) -> bool:
    counts = _counts(step, words)
    return counts is not None and all(
        gap is None or count <= gap for gap, count in zip(step.gaps, counts, strict=True)
    )


def _counts(step: Step, words: tuple[Word, ...]) -> list[int] | None:
    """Layers without weights in each gap; None if those with weights come in another order."""
    weighted = {"norm": "norm", "flat norm": "norm"}
    if any(one.kind == "prelu" for one in step.small):
        weighted["act"] = "prelu"
    here = [word for word in words if word in weighted]
    if [weighted[word] for word in here] != [one.kind for one in step.small]:
        return None
    counts = [0]
    for word in words:
        if word in weighted:
            counts.append(0)
        else:
            counts[-1] += 1
    return counts
