"""A folder of traps: modules named like those that the program imports, which leave a note."""

from __future__ import annotations

import sys
from pathlib import Path

OURS = frozenset({"engine", "gui", "resources"})

_OTHERS = """PIL PySide6 click filelock matplotlib numpy onnx onnxruntime pandas platformdirs pluggy
pydantic pyqtgraph safetensors scipy shiboken6 sitecustomize sklearn sqlite_utils sympy tabulate
tomli_w torch torch_pruning torchattacks torchvision tqdm usercustomize"""
NAMES = (sys.stdlib_module_names | OURS | {*_OTHERS.split()}) - {"sys", "builtins"}


def lay_traps(folder: Path, names: frozenset[str] = NAMES) -> Path:
    """Fill a folder; the file that is returned exists once a trap was sprung, and names it."""
    sprung = folder / "sprung.txt"
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(names):
        code = f"with open({str(sprung)!r}, 'a') as file:\n    file.write('{name} ')\n"
        # Every second one is a package.
        if len(name) % 2:
            (folder / f"{name}.py").write_text(code, "utf-8")
        else:
            (folder / name).mkdir()
            (folder / name / "__init__.py").write_text(code, "utf-8")
    (folder / "matplotlibrc").write_text("text.usetex: True\nfont.size: 99\n", "utf-8")
    return sprung
