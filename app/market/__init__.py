"""Market rules: sale conditions, sessions, classes of symbols. Imports nothing of the rest of the project."""
