"""Quix Streams applications: the topologies, their pure core, and the runtime they share."""
