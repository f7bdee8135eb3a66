"""Everything of Tickhouse that is neither a topology nor a sink."""

__version__ = "0.1.0"
