"""The model library: its window, the cards, and the import."""
