"""The Queue page: what runs, waits or failed."""
