"""Calling a model: the images stay as they are, and so does everything around it."""
