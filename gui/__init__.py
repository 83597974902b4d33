"""The window of Crumple; knows no torch."""

import os
import sys

# As in engine/__init__.py, which could itself be taken from the current folder.
_ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
_NAMED = sys.argv[:1] == ["-m"]
if _NAMED and not sys.flags.safe_path and os.path.realpath(sys.path[0]) != _ROOT:
    del sys.path[0]
