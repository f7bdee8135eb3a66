"""Market rules: sale conditions, sessions, classes of symbols. Imports only itself."""
