"""Quix Streams sinks."""
