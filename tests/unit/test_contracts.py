"""The schemas in docs/contracts promise the form of the messages."""

from __future__ import annotations

import json
from decimal import Decimal

import jsonschema
import pytest

from app.contract_schemas import json_schemas
from app.contracts import Quote, Trade, Trades, Watermark, encode
from tests.conftest import ROOT

NOW = 1_700_000_000_000


def test_committed_schemas_are_those_of_the_code():
    folder = ROOT / "docs" / "contracts"
    written = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
    assert written == json_schemas(), "run `make contracts`"


def test_messages_validate_against_their_schema():
    schema = json_schemas()["stocks-topic.schema.json"]
    messages = [
        Trades("AAPL", "live", "a", "c", NOW, [Trade(NOW, Decimal("1.50"), Decimal(2), None)]),
        Quote("AAPL", "live", "a", NOW, Decimal("1.5"), *[None] * 6, NOW // 1000),
        Watermark("AAPL", "live", "a", NOW, NOW, NOW - NOW % 60_000, 1000),
    ]
    for message in messages:
        jsonschema.validate(json.loads(encode(message)), schema)
    trades = json.loads(encode(messages[0]))
    trades["trades"][0]["p"] = "1.5"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(trades, schema)
