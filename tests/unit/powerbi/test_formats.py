"""Values as the report's format strings show them."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from app.powerbi import model
from app.powerbi.formats import BLANK, compact, formatted
from app.powerbi.model import MODEL


@pytest.mark.parametrize(
    ("value", "pattern", "shown"),
    [
        (1234.5, model.PRICE, "1,234.50"),
        (1234.5, model.INTEGER, "1,234"),
        (-7.98, model.SIGNED_PRICE, "-7.98"),
        (7.98, model.SIGNED_PRICE, "+7.98"),
        (0.0, model.SIGNED_PRICE, "0.00"),
        (-0.0094, model.SIGNED_PERCENT, "-0.94%"),
        (0.0094, model.SIGNED_PERCENT, "+0.94%"),
        (0.999, model.SHARE, "99.9%"),
        (1.254, model.RATIO, "1.25x"),
        (10.88, model.SECONDS, "10.9 s"),
        (datetime(2024, 3, 5, 14, 30, tzinfo=UTC), model.TIME, "2024-03-05 14:30"),
        (date(2024, 3, 5), model.DATE, "2024-03-05"),
        ("replay", None, "replay"),
        (None, model.PRICE, BLANK),
    ],
)
def test_value_is_shown_by_its_format(value: object, pattern: str | None, shown: str) -> None:
    assert formatted(value, pattern) == shown


def test_every_format_of_a_measure_is_known() -> None:
    for table in MODEL.tables:
        for measure in table.measures:
            moment = "y" in (measure.format or "")
            assert formatted(datetime(2024, 3, 5, tzinfo=UTC) if moment else 1.5, measure.format)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (950, "950"), (1_140_000, "1.14M"), (1.92e9, "1.92bn"), (None, BLANK)],
)
def test_gauges_show_three_digits(value: object, shown: str) -> None:
    assert compact(value) == shown
