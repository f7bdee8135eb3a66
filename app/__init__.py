"""Tickhouse, except its topologies and sinks."""

__version__ = "0.1.0"
