"""Readers of trade files: compression, text encoding, formats of vendors, units of time.

`app.feeds.replay.trade_file` is the interface to them.
"""
