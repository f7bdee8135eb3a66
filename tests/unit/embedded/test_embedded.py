"""Embedded servers: tests that need no running server."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.embedded import s3
from app.embedded.environment import as_variables, child_environment
from app.embedded.jars import pinned_jars
from app.embedded.kafka import server_properties
from app.embedded.ports import free_ports, is_free, remembered_ports
from app.embedded.process import EmbeddedError
from app.settings import Settings


def test_the_pinned_list_names_each_jar_once_with_its_checksum() -> None:
    jars = pinned_jars()
    assert len({jar.file_name for jar in jars}) == len(jars) == 93
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert {jar.version for jar in jars if jar.artifact == "kafka-clients"} == {"4.1.0"}


def test_kafka_listens_on_loopback_and_keeps_topics_for_ever() -> None:
    lines = server_properties(20000, 20001).splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    hosts = [part.split("//")[1] for part in properties["listeners"].split(",")]
    assert hosts == ["127.0.0.1:20000", "127.0.0.1:20001"]
    assert properties["log.retention.ms"] == "-1"
    assert properties["auto.create.topics.enable"] == "false"
    assert int(properties["message.max.bytes"]) >= 8 * 1024 * 1024


def test_remembered_ports_stay_until_another_process_takes_a_port(tmp_path: Path) -> None:
    file = tmp_path / "ports.json"
    first = remembered_ports(file, ("a", "b"))
    assert remembered_ports(file, ("a", "b")) == first
    with socket.create_server(("127.0.0.1", first["a"])):
        second = remembered_ports(file, ("a", "b"))
    assert second["a"] != first["a"]
    assert second["b"] == first["b"]
    assert json.loads(file.read_text()) == second


def test_a_server_that_finds_no_port_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def none_free(*_: object) -> dict[str, int]:
        raise EmbeddedError("No free port was found.")

    monkeypatch.setattr(s3, "remembered_ports", none_free)
    with pytest.raises(EmbeddedError, match="No free port"), s3.S3Server(tmp_path):
        pass


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(is_free(port) for port in ports)


def test_settings_survive_a_round_trip_through_variables(tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None,
        tickhouse_namespace="demo-simulated",
        tickhouse_feed="simulated",
        tickhouse_data_dir=tmp_path,
        stocks_symbols=("AAPL", "BINANCE:BTCUSDT"),
        finnhub_api_key=SecretStr("a secret"),
    )
    values = {name.lower(): value for name, value in as_variables(settings).items()}
    assert Settings(_env_file=None, **values) == settings
    assert values["finnhub_api_key"] == "a secret"


def test_a_child_gets_the_settings_and_not_those_of_its_parent(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("KAFKA_SASL_USERNAME", "mine")
    monkeypatch.setenv("UNRELATED", "kept")
    environment = child_environment(Settings(_env_file=None, kafka_sasl_username=None))
    assert "KAFKA_SASL_USERNAME" not in environment
    assert environment["UNRELATED"] == "kept"
