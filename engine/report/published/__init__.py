"""Published figures as data: rows and their sources, the arithmetic of sizes, and doubts."""
