"""The engine of Crumple: data, models, compression, attacks and their results; knows no window."""

import os

# Before anything loads OpenMP: a thread that waits spins for a moment, then sleeps. Where other
# programs compete for the processors, threads that only spin slow small networks down twentyfold;
# on a quiet machine, threads that sleep at once make two processors slower than one.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

__version__ = "0.1.0"
