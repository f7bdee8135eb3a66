"""Market rules: sale conditions, sessions and symbol classes. Imports no other package of `app`."""
