"""Which class runs which attack of the catalogue."""

from __future__ import annotations

from typing import Any

from engine import catalog
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
from engine.specs.study import AttackSpec

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


def create(spec: AttackSpec) -> Attack[Any]:
    """The attack that a spec asks for; ``torchattacks.*`` goes to the adapter."""
    params = catalog.find("attacks", spec.name).params.model_validate(spec.params)
    if spec.name.startswith(PREFIX):
        return TorchattacksAttack(spec.name.removeprefix(PREFIX), params)
    return REGISTRY[spec.name](params)
