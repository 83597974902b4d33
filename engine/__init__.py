"""The engine of Crumple: data, models, compression, attacks and their results; knows no window."""

import os

# Before anything loads OpenMP: threads that wait must sleep. Where other programs compete for the
# processors, threads that spin instead slow small networks down twentyfold.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
