"""The engine of Crumple: data, models, compression, attacks and their results; knows no window."""

import os
import sys

# `python -m` looks into the current folder first, where a struct.py or a torch/ of anybody's would
# be run in the place of the real one. This is the first line of ours: from here on nothing is
# (but for the folder that holds this very package).
_ROOT = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
_NAMED = sys.argv[:1] == ["-m"]  # so it stands while Python looks for the module to run
if _NAMED and not sys.flags.safe_path and os.path.realpath(sys.path[0]) != _ROOT:
    del sys.path[0]

# Before anything loads OpenMP: a thread that waits spins for a moment, then sleeps. Where other
# programs compete for the processors, threads that only spin slow small networks down twentyfold;
# on a quiet machine, threads that sleep at once make two processors slower than one.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# pydantic would look through every installed package for plugins, and run what it finds.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

__version__ = "0.1.0"
