"""A Kafka that wants TLS and a password: the settings reach every client, and no secret leaks."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from pydantic import SecretStr

from app.embedded.kafka import KafkaServer
from app.settings import Settings
from app.topics import ensure_topics
from tests.integration.feeds.finnhub_server import FinnhubServer
from tests.integration.feeds.producing import has_trades, producing
from tests.integration.feeds.topic_reader import stocks

USER, PASSWORD = "feeder", "marker-password"
_SASL = """
listener.security.protocol.map=PLAINTEXT:SASL_SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.plaintext.plain.sasl.jaas.config={login}
ssl.keystore.type=PEM
ssl.keystore.location={pem}
ssl.truststore.type=PEM
ssl.truststore.location={certificate}
"""


_LOGIN = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'username="{user}" password="{password}" user_{user}="{password}";'
)


class SecuredKafka(KafkaServer):
    """Its clients must speak TLS, know its certificate, and log in."""

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def client(self) -> dict[str, str]:
        return {
            "bootstrap.servers": self.brokers,
            "security.protocol": "sasl_ssl",
            "sasl.mechanism": "PLAIN",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
            "ssl.ca.location": str(self.certificate),
        }

    def prepare(self) -> list[str | Path]:
        command = super().prepare()
        pem = self._make_certificate()
        with (self.folder / "server.properties").open("a") as file:
            login = _LOGIN.format(user=USER, password=PASSWORD)
            file.write(_SASL.format(login=login, pem=pem, certificate=self.certificate))
        return command

    def answers(self) -> bool:
        admin = AdminClient(self.client | {"log_level": 0})
        try:
            return bool(admin.list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def _make_certificate(self) -> Path:
        """A key and a certificate that signs itself, both in one file for the broker."""
        key, pem = self.folder / "key.pem", self.folder / "broker.pem"
        if not pem.exists():
            command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
            names = ["-addext", "subjectAltName=IP:127.0.0.1"]
            files = ["-keyout", key, "-out", self.certificate]
            subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
            pem.write_text(key.read_text() + self.certificate.read_text())
        return pem


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[SecuredKafka]:
    with SecuredKafka(tmp_path / "kafka") as server:
        yield server


@pytest.mark.drill
def test_a_producer_feeds_a_kafka_with_tls_and_a_password(
    secured: SecuredKafka, make_settings: Callable[..., Settings], caplog: pytest.LogCaptureFixture
) -> None:
    with FinnhubServer() as server:
        settings = make_settings(
            tickhouse_feed="simulated",
            stocks_symbols="A",
            kafka_brokers=secured.brokers,
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_mechanism="PLAIN",
            kafka_sasl_username=USER,
            kafka_sasl_password=SecretStr(PASSWORD),
            kafka_ssl_ca_location=secured.certificate,
            **server.settings(),
        )
        ensure_topics(settings)
        with producing(settings):
            server.wait_for("subscribe")
            server.send_trades(("A", 1_700_000_000_000, 1))
            assert stocks(settings, until=has_trades("A", 1))
    assert PASSWORD not in caplog.text
