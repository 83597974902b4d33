"""The compression steps, one per file."""
