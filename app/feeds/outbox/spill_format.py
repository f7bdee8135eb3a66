"""The on-disk format of the spill file: header, records with checksums, and how to find them."""

from __future__ import annotations

import struct
import zlib
from io import BufferedReader, FileIO
from typing import NamedTuple

import msgspec

RECORD_BYTES = 160
"""The memory that a record takes in addition to its key and value."""
FORMAT = b"THSPILL2"
_POSITION = struct.Struct("<QQ")
_CRC = struct.Struct("<I")
HEAD_BYTES = len(FORMAT) + _POSITION.size + _CRC.size
"""The size of a file without records."""
_RECORD_MARKER = b"\xfeREC"
"""Begins each record; after unreadable bytes the next record is found by it."""
_LENGTH = struct.Struct("<I")
_RECORD_HEAD_BYTES = len(_RECORD_MARKER) + _LENGTH.size + _CRC.size
_SEARCH_BYTES = 1024 * 1024


class KafkaRecord(NamedTuple):
    """A message for Kafka."""

    topic: str
    key: bytes | None
    value: bytes

    @property
    def size(self) -> int:
        """The record's size in memory, in bytes."""
        return RECORD_BYTES + len(self.value) + len(self.key or b"")


class _Envelope(msgspec.Struct):
    """The field that messages and rejection records share."""

    feed: str


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def feed_of(record: KafkaRecord) -> str | None:
    """Return the feed of a record; None if it names none."""
    try:
        return _decode_envelope(record.value).feed
    except msgspec.DecodeError:
        return None


class FilePart(NamedTuple):
    """A part of the file: a record, or bytes that are not a record."""

    start_at: int
    end_at: int
    record: KafkaRecord | None


def pack_header(position: int, since_ms: int) -> bytes:
    packed = _POSITION.pack(position, since_ms)
    return FORMAT + packed + _CRC.pack(zlib.crc32(packed))


def unpack_header(file: FileIO) -> tuple[int, int] | None:
    """Return the position and time after the format; None if they are corrupt."""
    packed = file.read(_POSITION.size)
    (crc,) = _CRC.unpack(file.read(_CRC.size))
    start_at, since_ms = _POSITION.unpack(packed)
    return (start_at, since_ms) if crc == zlib.crc32(packed) else None


def pack_record(record: KafkaRecord) -> bytes:
    body = msgspec.msgpack.encode(record)
    length = _LENGTH.pack(len(body))
    return b"".join((_RECORD_MARKER, length, _CRC.pack(zlib.crc32(body, zlib.crc32(length))), body))


_decode = msgspec.msgpack.Decoder(KafkaRecord).decode


def part_at(file: BufferedReader, at: int, end_at: int) -> FilePart:
    """Return the record at a position or, without one, the bytes up to the next record."""
    record_part = _record_at(file, at, end_at)
    if record_part is None:
        return FilePart(at, _next_record_at(file, at + 1, end_at), None)
    return record_part


def _record_at(file: BufferedReader, at: int, end_at: int) -> FilePart | None:
    body_at = at + _RECORD_HEAD_BYTES
    if body_at > end_at:
        return None
    if file.tell() != at:
        file.seek(at)
    head = file.read(_RECORD_HEAD_BYTES)
    if len(head) < _RECORD_HEAD_BYTES or not head.startswith(_RECORD_MARKER):
        return None
    length = head[len(_RECORD_MARKER) : -_CRC.size]
    (crc,) = _CRC.unpack(head[-_CRC.size :])
    (size,) = _LENGTH.unpack(length)
    if body_at + size > end_at:
        return None
    body = file.read(size)
    if zlib.crc32(body, zlib.crc32(length)) != crc:
        return None
    try:
        return FilePart(at, body_at + size, _decode(body))
    except msgspec.DecodeError:
        return None


def _next_record_at(file: BufferedReader, at: int, end_at: int) -> int:
    """Return the position of the next complete record, or the end if none follows."""
    while at < end_at:
        file.seek(at)
        part = file.read(min(_SEARCH_BYTES, end_at - at))
        found = part.find(_RECORD_MARKER)
        while found >= 0:
            if _record_at(file, at + found, end_at) is not None:
                return at + found
            found = part.find(_RECORD_MARKER, found + 1)
        if len(part) < len(_RECORD_MARKER):
            break
        at += len(part) - len(_RECORD_MARKER) + 1
    return end_at


class _Timed(msgspec.Struct):
    received_at: int = 0


_decode_time = msgspec.json.Decoder(_Timed).decode


def received_ms(record: KafkaRecord) -> int:
    """Return when the message was received; 0 if it does not contain that time."""
    try:
        return _decode_time(record.value).received_at
    except msgspec.DecodeError:
        return 0
