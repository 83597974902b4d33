"""Numbers about numbers: intervals, tests, security curves and the verdict on a run; torch-free."""
