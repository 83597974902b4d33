"""Published weights from an address of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gui.bridge.import_process import import_arguments

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What torchvision normalises by."""

_FROM_HERE = """
import os, sys
url, os.environ["TORCH_HOME"] = sys.argv.pop(1), sys.argv.pop(1)
from torchvision.models import ShuffleNet_V2_X0_5_Weights
ShuffleNet_V2_X0_5_Weights.DEFAULT.value.url = url
from engine.cli.main import main
main()
"""


def from_here(url: str, cache: Path, options: Sequence[str]) -> list[str]:
    """The command line of an import of ``torchvision.shufflenet_v2_x0_5``, from this address."""
    return ["-c", _FROM_HERE, url, str(cache), *import_arguments(options)[3:]]
