"""How threads of OpenMP wait: set before torch is loaded, unless the person has chosen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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
    others = {name: value for name, value in os.environ.items() if name not in NAMES}
    code = f"import os, engine; print(*(os.environ.get(name) for name in {NAMES}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=others | chosen,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == expected
