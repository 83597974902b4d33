"""Which class runs which attack of the catalogue."""

from __future__ import annotations

from functools import partial
from typing import Any

from engine import catalog, extensions
from engine.attacks.apgd_targeted import APGDT
from engine.attacks.apgd_untargeted import APGDCE, APGDDLR
from engine.attacks.autoattack import AutoAttack
from engine.attacks.base import Attack
from engine.attacks.cw_l2 import CWL2
from engine.attacks.ddn import DDN
from engine.attacks.deepfool import DeepFool
from engine.attacks.fab import FABT
from engine.attacks.fb_pgd import FoolboxPGD
from engine.attacks.fgsm import FGSM
from engine.attacks.fmn import FMN
from engine.attacks.pgd import PGD
from engine.attacks.pgd_l2 import PGDL2
from engine.attacks.square import Square
from engine.attacks.torchattacks.adapter import PREFIX, TorchattacksAttack
from engine.errors import SpecError
from engine.extensions import AttackMethod
from engine.specs.choices import AttackSpec

REGISTRY: dict[str, type[Attack[Any]]] = {
    "fgsm": FGSM,
    "pgd": PGD,
    "pgd-l2": PGDL2,
    "fb-pgd": FoolboxPGD,
    "apgd-ce": APGDCE,
    "apgd-dlr": APGDDLR,
    "apgd-t": APGDT,
    "fab-t": FABT,
    "square": Square,
    "autoattack": AutoAttack,
    "cw-l2": CWL2,
    "ddn": DDN,
    "fmn": FMN,
    "deepfool": DeepFool,
}


def method(spec: AttackSpec) -> AttackMethod:
    """The attack that a spec asks for, built in or from outside.

    Raises:
        SpecError: it is not here, or cannot be loaded.
    """
    entry = catalog.built_in("attacks").get(spec.name)
    if entry is None or spec.origin is not None:
        found = extensions.implementation("attacks", spec)
        assert isinstance(found, AttackMethod)
        return found
    if spec.name.startswith(PREFIX):
        return AttackMethod(entry, partial(TorchattacksAttack, spec.name.removeprefix(PREFIX)))
    return AttackMethod(entry, REGISTRY[spec.name])


def create(spec: AttackSpec) -> Attack[Any]:
    """The same, ready to run.

    Raises:
        SpecError: as ``method``, or a parameter model from outside refuses its parameters.
    """
    found = method(spec)
    made = found.make(extensions.validated(found, spec, "attacks"))
    if not isinstance(made, Attack):
        raise SpecError(f"The attack {spec.name!r} makes {type(made).__name__}, no Attack.")
    return made
