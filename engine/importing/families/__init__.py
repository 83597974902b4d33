"""Families of published networks, read from names and shapes into a wiring."""
