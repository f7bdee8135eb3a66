"""The way into Kafka: what its client is told, and how much waits in memory while it is away."""

from __future__ import annotations

from pathlib import Path
from random import Random
from string import ascii_uppercase

from pydantic import SecretStr

from app.feeds.clock import ManualClock
from app.feeds.intake import Intake
from app.feeds.publisher import Publisher, producer_settings
from app.feeds.simulator.exchange import Exchange
from app.feeds.simulator.protocol import trade_frames
from app.feeds.spill import HEAD_BYTES
from app.settings import Settings

NOW = 1_780_000_020_000


def test_kafka_is_told_to_take_each_message_once_and_in_order() -> None:
    told = producer_settings(Settings(_env_file=None))
    assert told["enable.idempotence"] is True
    assert told["acks"] == "all"
    assert told["compression.type"] in ("lz4", "zstd")
    assert told["message.timeout.ms"] == 0, "messages never time out"
    assert told["partitioner"] == "murmur2"


def test_a_secured_kafka_is_told_who_asks() -> None:
    told = producer_settings(
        Settings(
            _env_file=None,
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism="SCRAM-SHA-512",
            kafka_sasl_username="me",
            kafka_sasl_password=SecretStr("word"),
            kafka_ssl_ca_location=Path("/ca.pem"),
        )
    )
    assert told["security.protocol"] == "sasl_ssl"
    assert told["sasl.mechanism"] == "SCRAM-SHA-512"
    assert (told["sasl.username"], told["sasl.password"]) == ("me", "word")
    assert told["ssl.ca.location"] == "/ca.pem"


def test_memory_holds_ten_minutes_of_1000_trades_a_second_while_kafka_is_away(
    tmp_path: Path,
) -> None:
    seconds, mib = 30, 6
    assert Settings(_env_file=None).kafka_buffer_mib >= mib * 600 / seconds
    settings = Settings(_env_file=None, kafka_brokers="127.0.0.1:1", kafka_buffer_mib=mib)
    publisher = Publisher(settings, tmp_path / "spill.bin", ready=False)
    symbols = [a + b for a in "AB" for b in ascii_uppercase[:25]]
    clock, exchange, rng = ManualClock(NOW), Exchange(1, 1_500, NOW), Random(1)
    intake = Intake(
        feed="simulated",
        source="machine-123456",
        symbols=symbols,
        grace_ms=5_000,
        horizon_ms=900_000,
        clock=clock,
    )
    intake.connected("machine-123456-19e0f0e6920-1-1")
    for step in range(1, 20 * seconds + 1):
        clock.move_forward(50)
        for raw in trade_frames(exchange.step(NOW + 50 * step, symbols), rng):
            publisher.offer(intake.frame(raw))
        if step % 20 == 0:
            publisher.offer(intake.each_second())
        publisher.settle()
    assert intake.counts["trades"] >= 1_000 * seconds
    assert (tmp_path / "spill.bin").stat().st_size == HEAD_BYTES, "nothing had to leave memory"
