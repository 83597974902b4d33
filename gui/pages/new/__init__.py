"""The New page: what is ticked and typed here is a study."""
