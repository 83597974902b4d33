"""The Runs page: every result in one table."""
