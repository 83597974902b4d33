"""The panel at the right."""
