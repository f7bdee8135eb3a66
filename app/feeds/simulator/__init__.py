"""A local server that speaks Finnhub's WebSocket and REST protocol, over a market of its own.

The market is a pure function of a seed, the symbols that trade and the time it is asked for; the
server carries it to its clients and holds none of its rules.
"""
