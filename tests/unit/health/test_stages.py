"""A problem is reported at the stage that causes it, and in no stage behind it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.health.stages import Limits, Observation, Stage, TopicTail, evaluate, problems

NOW = 1_790_000_000_000
S = 1_000
MIN = 60_000

WELL = Observation(
    now=NOW,
    feed="live",
    any_market_open=True,
    topics={
        "stocks-topic": TopicTail(90_000, NOW - S, NOW - 2 * S, watermark_ms=NOW - 6 * S),
        "candles-1m": TopicTail(900, NOW - 8 * S, None, NOW - 20 * S),
        "candles-live": TopicTail(5_000, NOW - S),
        "trades-rejected": TopicTail(3, NOW - 90 * MIN),
    },
    lag={"candles": 12, "archive": 900},
    rates={"feed": 40.0, "candles": 39.5, "candles-live": 1_210.04},
    newest_object_ms=NOW - 14 * S,
    load_id=7,
    loaded_ms=NOW - 31 * S,
    built_load_id=7,
    built_ms=NOW - 24 * S,
    audited_ms=NOW - 40 * MIN,
    audited_candles=1_490,
)


def with_topic(seen: Observation, name: str, **changes: Any) -> Observation:
    changed = msgspec.structs.replace(seen.topics[name], **changes)
    return msgspec.structs.replace(seen, topics={**seen.topics, name: changed})


def judged(seen: Observation = WELL, **changes: Any) -> dict[str, Stage]:
    return {
        stage.name: stage for stage in evaluate(msgspec.structs.replace(seen, **changes), Limits())
    }


def only_problem(stages: dict[str, Stage]) -> Stage:
    (found,) = [stage for stage in stages.values() if stage.state == "problem"]
    assert found.problem
    return found


def test_rows_of_silver_that_a_change_did_not_reach_are_named() -> None:
    stage = judged(silver_outdated=True)["build"]
    assert stage.state == "ok"
    assert "load --rebuild" in stage.detail


def test_a_pipeline_that_runs_has_no_problem() -> None:
    stages = judged()
    assert [stage.state for stage in stages.values()] == ["ok"] * 8
    assert list(stages) == ["feed", "kafka", "candles", "archive", "lake", "load", "build", "audit"]
    assert stages["audit"].detail == "1,490 candles equal to their trades"
    assert stages["candles"].lag == 12
    assert stages["candles"].newest_ms == NOW - 20 * S
    assert stages["candles"].detail == "processing, 1,210.0 partial candles/s"
    assert judged(rates={})["candles"].detail == "processing"
    assert stages["kafka"].detail == "4 topics, 3 rejections"
    assert stages["feed"].detail == "publishing; watermark 6 s old"
    assert [stages[name].rate for name in ("feed", "candles", "archive")] == [40, 39.5, None]
    assert problems(list(stages.values())) == []


def test_before_its_first_message_every_stage_waits() -> None:
    empty = Observation(now=NOW, feed="live", any_market_open=True, topics={}, lag={})
    states = {name: stage.state for name, stage in judged(empty).items()}
    assert states.pop("kafka") == "ok"
    assert set(states.values()) == {"waiting"} | ({"ok"} if states["lake"] == "ok" else set())
    assert states["feed"] == states["candles"] == states["load"] == states["build"] == "waiting"


def test_a_silent_feed_is_the_feeds_problem_alone() -> None:
    silent = with_topic(
        WELL, "stocks-topic", newest_ms=NOW - 10 * MIN, newest_trade_ms=NOW - 10 * MIN
    )
    silent = with_topic(silent, "candles-live", newest_ms=NOW - 10 * MIN)
    silent = with_topic(silent, "candles-1m", newest_ms=NOW - 8 * MIN)
    stages = judged(
        silent,
        newest_object_ms=NOW - 8 * MIN,
        loaded_ms=NOW - 7 * MIN,
        built_ms=NOW - 7 * MIN,
        lag={"candles": 0, "archive": 0},
    )
    found = only_problem(stages)
    assert found.name == "feed"
    assert found.problem == (
        "The feed has published nothing for 10 min: check that `tickhouse produce` is running, and "
        "its log."
    )


@pytest.mark.parametrize(("is_open", "state"), [(True, "problem"), (False, "ok")])
def test_a_connected_feed_without_trades_is_a_problem_only_while_a_market_is_open(
    is_open: bool, state: str
) -> None:
    quiet = with_topic(WELL, "stocks-topic", newest_trade_ms=NOW - 4 * MIN)
    assert judged(quiet, any_market_open=is_open)["feed"].state == state


def test_the_end_of_a_replay_is_no_problem() -> None:
    ended = with_topic(
        WELL, "stocks-topic", newest_ms=NOW - 99 * MIN, newest_trade_ms=NOW - 99 * MIN
    )
    assert judged(ended, feed="replay", lag={"candles": 0})["feed"].state == "ok"


def test_the_times_of_a_replay_have_no_age() -> None:
    stages = judged(feed="replay")
    assert [stages[name].newest_ms for name in ("feed", "candles")] == [None, None]


def test_without_kafka_what_rests_on_it_is_not_known_and_only_kafka_has_a_problem() -> None:
    away = "Kafka at 127.0.0.1:1 (KAFKA_BROKERS) does not answer: refused. Start it."
    stages = judged(topics={}, lag={}, kafka_error=away)
    assert only_problem(stages).problem == away
    assert {stages[name].state for name in ("feed", "candles", "archive")} == {"waiting"}


def test_a_candles_worker_that_stands_still_is_found_by_its_lag() -> None:
    still = with_topic(WELL, "candles-live", newest_ms=NOW - 5 * MIN)
    still = with_topic(still, "candles-1m", newest_ms=NOW - 5 * MIN)
    found = only_problem(judged(still, lag={"candles": 4_321, "archive": 0}))
    assert found.name == "candles"
    assert found.lag == 4_321
    assert "4 min behind the trades, 4,321 messages" in (found.problem or "")


def test_candles_without_lag_are_not_behind() -> None:
    """Trades that change no candle, such as repeated frames, write nothing."""
    still = with_topic(WELL, "candles-live", newest_ms=NOW - 5 * MIN)
    still = with_topic(still, "candles-1m", newest_ms=NOW - 5 * MIN)
    assert judged(still, lag={"candles": 0, "archive": 0})["candles"].state == "ok"


def test_an_archive_that_stands_still_is_found_by_its_newest_object() -> None:
    found = only_problem(judged(newest_object_ms=NOW - 3 * MIN, loaded_ms=NOW - 2 * MIN))
    assert found.name == "archive"


def test_the_archive_may_be_behind_for_several_flush_intervals() -> None:
    seen = msgspec.structs.replace(WELL, newest_object_ms=NOW - 3 * MIN, loaded_ms=NOW - 2 * MIN)
    (archive,) = [s for s in evaluate(seen, Limits(archive_ms=5 * MIN)) if s.name == "archive"]
    assert archive.state == "ok"


def test_a_lake_that_does_not_answer_is_not_the_archives_problem() -> None:
    away = "The lake at http://127.0.0.1:1 (LAKE_ENDPOINT_URL) does not answer: refused. Start it."
    assert only_problem(judged(lake_error=away, newest_object_ms=None)).problem == away


def test_a_load_is_behind_when_the_lake_has_newer_objects() -> None:
    found = only_problem(judged(loaded_ms=NOW - 6 * MIN))
    assert found.name == "load"
    assert "stock_pipeline" in (found.problem or "")


def test_a_load_without_newer_objects_is_not_behind() -> None:
    assert judged(loaded_ms=NOW - 60 * MIN, newest_object_ms=NOW - 61 * MIN)["load"].state == "ok"


def test_gold_older_than_two_minutes_is_a_problem_while_a_newer_load_waits() -> None:
    found = only_problem(judged(load_id=8, built_ms=NOW - 121 * S))
    assert found.name == "build"
    assert (found.problem or "").startswith("Gold is 2 min old, and newer loads are not in it")
    assert judged(load_id=8, built_ms=NOW - 119 * S)["build"].state == "ok"
    assert judged(load_id=7, built_ms=NOW - 60 * MIN)["build"].state == "ok"


def test_a_failed_build_has_its_reason() -> None:
    found = only_problem(judged(build_failure="dbt build failed: silver_candles (no such column)."))
    assert found.name == "build"
    assert "no such column" in (found.problem or "")


def test_rejected_objects_are_counted_at_the_load() -> None:
    assert judged(rejected_objects=2)["load"].detail == "load 7, 2 objects rejected"


def test_an_audit_that_failed_is_a_problem_whatever_its_age() -> None:
    failure = "1 of 20 candles differ from what their trades make; the first: AAPL 1m is missing."
    stages = judged(audited_ms=NOW - 3 * 3_600 * S, audit_failure=failure)
    found = only_problem(stages)
    assert (found.name, found.newest_ms) == ("audit", NOW - 3 * 3_600 * S)
    assert found.problem == f"The last audit failed: {failure} `tickhouse audit` repeats it."
    assert judged(audited_ms=None)["audit"].state == "waiting"
