"""How threads of OpenMP wait: set before torch is loaded, unless the person has chosen."""

from __future__ import annotations

import pytest

from tests.helpers.fresh_process import printed

NAMES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({}, ["PASSIVE", "1000"]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", "None"]),
        ({"GOMP_SPINCOUNT": "7"}, ["PASSIVE", "7"]),
    ],
    ids=["nothing chosen", "policy chosen", "count chosen"],
)
def test_what_the_person_chose_stands(chosen: dict[str, str], expected: list[str]) -> None:
    code = f"import os, engine; print(*(os.environ.get(name) for name in {NAMES}))"
    assert printed(code, without=NAMES, chosen=chosen) == expected
