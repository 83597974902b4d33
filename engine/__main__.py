"""``python -m engine`` is the command ``crumple``."""

from __future__ import annotations

from engine.cli.main import main

# Guarded, because a spawned worker process imports this module again.
if __name__ == "__main__":
    main(prog_name="crumple")
