"""Quix Streams applications, and the pure candle core they run."""
