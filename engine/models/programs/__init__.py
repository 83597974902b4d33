"""Networks of the user's own making, as exported programs: checked, built and converted."""
