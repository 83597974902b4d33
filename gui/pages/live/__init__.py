"""The Live page: curves while they grow."""
