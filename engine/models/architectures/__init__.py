"""The architectures that Crumple builds itself, one family per file."""
