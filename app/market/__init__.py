"""Market rules: sale conditions, sessions and symbol classes. Imports nothing else of Tickhouse."""
