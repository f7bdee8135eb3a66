"""A state store in memory."""

from __future__ import annotations


class Disk(dict):
    """A store of byte values, as `state_codec.StateStore` needs it."""

    def get_bytes(self, key):
        return self.get(key)

    def set_bytes(self, key, value):
        assert isinstance(value, bytes)
        self[key] = value

    def delete(self, key):
        self.pop(key, None)
