"""Cached symbols are used only while the store confirms them."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import msgspec
import pytest

from app.contracts import Trade, Trades, Watermark
from tests.unit.topologies.disk import Disk
from topologies.core.candle import Rules
from topologies.core.state_codec import CandleCodec
from topologies.runtime.symbol_cache import CheckpointSink, SymbolCache

BASE = 1_700_000_040_000
RULES = Rules("live")


def message(offset: int) -> Trades:
    t = BASE + offset
    return Trades("SPY", "live", "a", "c", t, [Trade(t, Decimal(offset + 1), Decimal(1))])


class Worker:
    """Applies messages as the topology does; a checkpoint is any object."""

    def __init__(self, incarnation="incarnation"):
        self.committing = False
        self.symbols = SymbolCache(
            CandleCodec(RULES, Counter()), incarnation, lambda: self.committing
        )
        self.checkpoint: object = None
        self.sink = CheckpointSink(
            self.symbols, lambda: self.checkpoint, check=lambda: lambda: None
        )

    def apply(self, offset: int, checkpoint: object, store: Disk, partition: int = 0) -> None:
        self.checkpoint = checkpoint
        cached = self.symbols.of("SPY", b"SPY", partition, checkpoint, lambda *_: store)
        cached.offset = offset
        cached.value.apply(message(offset), offset, None)

    def final(self, checkpoint: object, store: Disk, offset: int = 99):
        cached = self.symbols.of("SPY", b"SPY", 0, checkpoint, lambda *_: store)
        end = Watermark("SPY", "live", "a", BASE + 60_000, BASE + 60_000)
        (candle,) = cached.value.apply(end, offset, None).records
        return candle


def test_what_a_checkpoint_saved_is_kept_in_memory():
    store, worker = Disk(), Worker()
    first, second = object(), object()
    worker.apply(0, first, store)
    worker.sink.flush()
    before = worker.symbols.of("SPY", b"SPY", 0, second, lambda *_: store)
    worker.apply(1, second, store)
    assert worker.symbols.of("SPY", b"SPY", 0, second, lambda *_: store) is before
    assert worker.final(second, store).trade_count == 2


def test_memory_is_loaded_again_when_a_checkpoint_was_aborted_after_its_flush():
    store, worker = Disk(), Worker()
    first, second, third = object(), object(), object()
    worker.apply(0, first, store)
    worker.sink.flush()
    committed = Disk(store)
    worker.apply(1, second, store)
    worker.sink.flush()  # and then the transaction fails: the store stays as committed
    worker.apply(1, third, committed)
    assert worker.final(third, committed).trade_count == 2


def test_memory_is_loaded_again_when_a_checkpoint_was_aborted_before_its_flush():
    store, worker = Disk(), Worker()
    first, second, third = object(), object(), object()
    worker.apply(0, first, store)
    worker.sink.flush()
    worker.apply(1, second, store)  # aborted, never flushed
    worker.apply(1, third, store)
    candle = worker.final(third, store)
    assert (candle.trade_count, candle.duplicate_count) == (2, 0)


def test_memory_is_loaded_again_when_the_partition_was_elsewhere_meanwhile():
    store, worker, other = Disk(), Worker(), Worker()
    worker.apply(0, first := object(), store)
    worker.sink.flush()
    other.apply(1, object(), store)
    other.sink.flush()
    worker.apply(2, third := object(), store)
    assert first is not third
    assert worker.final(third, store).trade_count == 3


def test_memory_is_trusted_while_the_checkpoint_that_saved_it_is_committing():
    store, worker = Disk(), Worker()
    first, second, third = object(), object(), object()
    worker.apply(0, first, store)
    worker.sink.flush()
    unwritten = Disk()  # what can be read until the commit ends
    worker.committing = True
    worker.apply(1, second, unwritten)
    assert worker.final(second, unwritten).trade_count == 2
    worker.committing = False
    worker.sink.flush()
    assert worker.symbols.of("SPY", b"SPY", 0, third, lambda *_: unwritten).offset == 1


def test_memory_that_an_older_checkpoint_saved_is_verified_while_one_is_committing():
    store, worker = Disk(), Worker()
    worker.apply(0, object(), store)
    worker.sink.flush()
    worker.checkpoint = object()
    worker.sink.flush()  # SPY was not touched in it
    worker.committing = True
    other = Worker()
    other.apply(1, object(), store)
    other.sink.flush()
    worker.apply(2, third := object(), store)
    assert worker.final(third, store).trade_count == 3


def test_what_an_aborted_checkpoint_touched_is_not_written_with_the_next():
    store, worker = Disk(), Worker()
    worker.apply(0, object(), store)
    worker.sink.flush()
    before = Disk(store)
    worker.apply(1, object(), store)  # aborted before its flush
    worker.checkpoint = object()  # in which SPY is not touched
    worker.sink.flush()
    assert store == before


def test_state_of_another_incarnation_is_discarded(caplog):
    store, old = Disk(), Worker("old")
    old.apply(5, object(), store)
    old.sink.flush()
    new = Worker("new")
    new.apply(0, checkpoint := object(), store)
    assert "another incarnation" in caplog.text
    assert new.final(checkpoint, store).trade_count == 1
    new.sink.flush()
    windows = {key for key in store if key[:1] in b"wi"}
    assert windows <= {b"w%d" % BASE, b"i%d.0" % BASE}


def test_a_checkpoint_that_must_not_be_committed_ends_before_its_changelogs():
    store, symbols = (
        Disk(),
        SymbolCache(CandleCodec(RULES, Counter()), "incarnation", lambda: False),
    )

    def fail() -> None:
        raise RuntimeError("recreated")

    sink = CheckpointSink(symbols, lambda: checkpoint, check=lambda: fail)
    symbols.of("SPY", b"SPY", 0, checkpoint := object(), lambda *_: store)
    with pytest.raises(RuntimeError):
        sink.flush()


def test_symbols_of_evicted_partitions_are_dropped_and_loaded_when_they_come_back():
    kept, revoked, worker = Disk(), Disk(), Worker()
    worker.apply(0, first := object(), kept)
    worker.apply(0, first, revoked, partition=1)
    worker.sink.flush()
    worker.symbols.evict({1, 2})
    assert list(worker.symbols._symbols) == [(0, b"SPY")]
    worker.apply(1, second := object(), revoked, partition=1)
    cached = worker.symbols.of("SPY", b"SPY", 1, second, lambda *_: revoked)
    assert sum(window.trade_count for window in cached.value.windows.values()) == 2


def test_what_an_aborted_checkpoint_touched_of_an_evicted_partition_is_never_written():
    kept, revoked, worker = Disk(), Disk(), Worker()
    worker.apply(0, checkpoint := object(), kept)
    worker.apply(0, checkpoint, revoked, partition=1)  # its flush fails as it is revoked
    worker.symbols.evict({1})
    assert len(worker.symbols._dirty) == 1
    worker.sink.flush()
    assert kept
    assert not revoked


def test_a_paused_sink_clears_the_cache():
    store, worker = Disk(), Worker()
    worker.apply(0, checkpoint := object(), store)
    worker.sink.on_paused()
    worker.apply(0, checkpoint, store)
    assert worker.final(checkpoint, store).trade_count == 1


def test_coverage_of_a_minute_that_an_earlier_version_saved_stays_in_its_rollups():
    store, worker = Disk(), Worker()
    worker.apply(0, checkpoint := object(), store)
    cached = worker.symbols.of("SPY", b"SPY", 0, checkpoint, lambda *_: store)
    end = BASE + 60_000
    cached.value.apply(Watermark("SPY", "live", "a", end, end, BASE, 30_000), 1, None)
    worker.sink.flush()
    (key,) = (key for key in store if key[:1] == b"w")
    for place in (key, b"h"):  # their last field was not there then
        store[place] = msgspec.msgpack.encode(msgspec.msgpack.decode(store[place])[:-1])
    loaded = Worker().symbols.of("SPY", b"SPY", 0, object(), lambda *_: store).value
    outcome = loaded.apply(message(2), 2, None)
    assert [c.revision for c in outcome.records] == [1]
    assert {c.covered_ms for c in (*outcome.records, *outcome.rollups)} == {30_000}


def test_a_window_that_an_earlier_version_saved_without_its_last_field_is_loaded():
    store, worker = Disk(), Worker()
    worker.apply(0, object(), store)
    worker.sink.flush()
    (key,) = (key for key in store if key[:1] == b"w")
    store[key] = msgspec.msgpack.encode(msgspec.msgpack.decode(store[key])[:-1])
    assert Worker().final(object(), store).trade_count == 1
