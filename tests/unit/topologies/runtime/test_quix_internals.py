"""The private code of Quix Streams that the runtime overrides or relies on must stay the same."""

from __future__ import annotations

import hashlib
import inspect

import pytest
from quixstreams import Application
from quixstreams.checkpointing import Checkpoint
from quixstreams.dataframe import StreamingDataFrame, dataframe
from quixstreams.internal_consumer import InternalConsumer
from quixstreams.internal_producer import InternalProducer
from quixstreams.kafka.consumer import BaseConsumer
from quixstreams.kafka.producer import Producer
from quixstreams.models import Topic
from quixstreams.processing import ProcessingContext
from quixstreams.state.base.transaction import PartitionTransaction
from quixstreams.state.recovery import RecoveryPartition

DIGESTS = [
    (
        Application._process_message,
        "29d0171a33f1",
        "BatchedApplication._process_message does its work",
    ),
    (
        Application._run_dataframe,
        "3309c346f813",
        "calls _process_message, then looks after checkpoint and recovery",
    ),
    (
        Application._get_internal_consumer,
        "4c1da72aa6c9",
        "IncarnationApplication makes the consumer",
    ),
    (
        Application._get_internal_producer,
        "8ff77b7505a1",
        "IncarnationApplication makes the producer",
    ),
    (
        InternalConsumer.subscribe,
        "8708a6152881",
        "FailureKeepingConsumer keeps what its callbacks raise, and IncarnationConsumer raises it",
    ),
    (InternalConsumer.poll_row, "5fc6f77dab1f", "BatchedApplication polls instead"),
    (InternalProducer.produce_row, "998ef49ad1b1", "IncarnationProducer.produce_row does its work"),
    (
        Topic.row_serialize,
        "543a9fa1a191",
        "IncarnationProducer.produce_row serializes values as it does",
    ),
    (Producer.produce, "ec011a9b72df", "IncarnationProducer.send produces as it does"),
    (BaseConsumer.poll, "f179da607e49", "IncarnationConsumer.poll_now does its work"),
    (ProcessingContext.commit_checkpoint, "bebf0e223a8f", "PipelinedContext does its work"),
    (ProcessingContext.init_checkpoint, "a0a1bf8f5c28", "PipelinedContext does its work"),
    (
        Checkpoint.commit,
        "a324c629763f",
        "flushes its producer, then commits the transaction, then writes state to disk",
    ),
    (Checkpoint.get_store_transaction, "4404ff20622b", "PipelinedCheckpoint waits before it"),
    (
        Checkpoint._flush_sink_bounded,
        "482b12ecd541",
        "PipelinedCheckpoint flushes in its own thread instead",
    ),
    (
        InternalProducer.commit_transaction,
        "7bde107a94cf",
        "AlternatingProducer runs it on a copy of itself",
    ),
    (
        InternalProducer.begin_transaction,
        "079297938cb0",
        "AlternatingProducer changes producers before it",
    ),
    (Application._on_assign, "649c087559d4", "BatchedApplication waits for a commit before it"),
    (
        Application._on_revoke,
        "3583f0b20d3b",
        "BatchedApplication evicts symbols after it has committed and released the stores",
    ),
    (Application._on_lost, "0edfd426aa05", "BatchedApplication waits for a commit before it"),
    (
        Application._exception_handler,
        "df8c7b4b98c5",
        "BatchedApplication waits for a commit before it",
    ),
    (
        Application.run,
        "8a851b5b0ff5",
        "calls _exception_handler before it closes consumer and state",
    ),
    (
        PartitionTransaction._prepare,
        "16ec88d0eb44",
        "IncarnationProducer.add_to_transaction sends as it does",
    ),
    (
        RecoveryPartition.recover_from_changelog_message,
        "3346e17e4f15",
        "reads what IncarnationProducer.add_to_transaction sent",
    ),
    (StreamingDataFrame.sink, "609f2debc430", "candles.build registers its sink as it does"),
    (dataframe._as_stateful, "31645dcd8c83", "StateStores.open opens the store as it does"),
]


def digest(function) -> str:
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:12]


@pytest.mark.parametrize(
    ("function", "known", "use"),
    DIGESTS,
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_private_code_of_quix_streams_is_unchanged(function, known, use):
    assert digest(function) == known, (
        f"{function.__qualname__} of quixstreams changed ({use}): review it, "
        "then update its digest here"
    )
