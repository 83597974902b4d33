"""The way that takes any network, for messages about files that are not recognised."""

from __future__ import annotations


def by_source(file: str, steps: str = "", prefix: str = "", plain: bool = True) -> str:
    """How to import a network whose code one has, with the weights of a file.

    Args:
        file: that holds the state dict.
        steps: Python that follows the loaded file, such as ``["net"]``.
        prefix: that all names of tensors begin with.
        plain: whether it holds tensors and numbers alone, so that torch loads it as such.
    """
    loaded = f"torch.load({file!r}, map_location='cpu', weights_only={plain}){steps}"
    if file.endswith(".safetensors"):
        loaded = f"safetensors.torch.load_file({file!r})"
    if prefix:
        loaded = f"{{key.removeprefix({prefix!r}): one for key, one in {loaded}.items()}}"
    return (
        "Any network can be imported by its own code: write net.py with its class (Net here) and "
        f'the line "def make(): net = Net(); net.load_state_dict({loaded}); return net", and '
        "import net.py:make with --trust-code."
    )
