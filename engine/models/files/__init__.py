"""Files of weights: read without running anything, written whole or not at all."""
