"""A state store in memory."""

from __future__ import annotations


class Disk(dict):
    """A `state_codec.StateStore` in memory."""

    def get_bytes(self, key):
        return self.get(key)

    def set_bytes(self, key, value):
        assert isinstance(value, bytes)
        self[key] = value

    def delete(self, key):
        self.pop(key, None)
