"""The pipe between the window and the process that computes."""
