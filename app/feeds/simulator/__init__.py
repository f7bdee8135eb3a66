"""A local server that speaks Finnhub's WebSocket and REST protocols over a simulated market.

The market is a pure function of a seed, the symbols that trade, and the requested time. The server
delivers it to clients and contains none of its rules.
"""
