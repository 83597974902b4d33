"""The engine of Crumple: data, models, compression, attacks and their results; knows no window."""

__version__ = "0.1.0"
