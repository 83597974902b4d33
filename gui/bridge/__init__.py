"""The window's end of the engine: events, processes beside it, and time left."""
