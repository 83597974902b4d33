"""Attacks of the library torchattacks, behind guards."""
