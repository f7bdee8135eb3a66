"""Settings of the demo's processes, with and without an API key."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from app.embedded.airflow import DAGS, airflow_variables
from app.embedded.plan import SIMULATOR_KEY, demo_settings, warehouse_sentence, with_servers
from app.settings import Settings

S3 = {"endpoint_url": "http://127.0.0.1:2", "access_key": "a", "secret_key": "b"}


def test_without_a_key_all_urls_point_to_the_simulator() -> None:
    settings = with_servers(
        demo_settings(Settings(_env_file=None)),
        brokers="127.0.0.1:1",
        s3=S3,
        simulator_port=3,
    )
    assert settings.tickhouse_feed == "simulated"
    assert settings.tickhouse_namespace == "demo-simulated"
    assert settings.finnhub_websocket_url == "ws://127.0.0.1:3"
    assert settings.finnhub_rest_url == "http://127.0.0.1:3/api/v1"
    assert settings.finnhub_api_key == SecretStr(SIMULATOR_KEY)
    assert settings.kafka_brokers == "127.0.0.1:1"
    assert settings.lake_endpoint_url == "http://127.0.0.1:2"


def test_with_a_key_the_feed_is_live_in_a_folder_of_its_own() -> None:
    simulated = demo_settings(Settings(_env_file=None))
    live = with_servers(demo_settings(Settings(_env_file=None, finnhub_api_key=SecretStr("key"))))
    assert live.tickhouse_feed == "live"
    assert live.finnhub_websocket_url == "wss://ws.finnhub.io"
    assert live.finnhub_api_key == SecretStr("key")
    assert live.home != simulated.home


def test_simulated_and_live_data_go_to_different_databases_of_snowflake() -> None:
    given = Settings(_env_file=None, warehouse="snowflake")
    simulated = demo_settings(given)
    live = demo_settings(given.model_copy(update={"finnhub_api_key": SecretStr("key")}))
    names = {each.warehouse_database for each in (given, simulated, live)}
    assert names == {"STOCKS", "STOCKS_DEMO_SIMULATED", "STOCKS_DEMO_LIVE"}

    assert warehouse_sentence(demo_settings(Settings(_env_file=None))) is None
    assert warehouse_sentence(simulated) == (
        "Simulated data goes to the database STOCKS_DEMO_SIMULATED of Snowflake, which "
        "`TICKHOUSE_NAMESPACE=demo-simulated tickhouse warehouse init` creates"
    )
    named = simulated.model_copy(update={"snowflake_database": "STOCKS"})
    assert warehouse_sentence(named) == (
        "Simulated data goes to the database STOCKS of Snowflake, which SNOWFLAKE_DATABASE names"
    )


def test_servers_that_the_user_named_stay() -> None:
    given = Settings(_env_file=None, kafka_brokers="kafka:9092", lake_endpoint_url="http://minio")
    settings = with_servers(demo_settings(given), simulator_port=3)
    assert settings.kafka_brokers == "kafka:9092"
    assert settings.lake_endpoint_url == "http://minio"


def test_airflow_gets_loopback_and_the_dags_of_this_repository(tmp_path: Path) -> None:
    keys = {"fernet_key": "f", "jwt_secret": "j", "secret_key": "s"}
    variables = airflow_variables(tmp_path, 8080, keys)
    assert variables["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert variables["AIRFLOW__CORE__LOAD_EXAMPLES"] == "False"
    assert variables["AIRFLOW__CORE__DAGS_FOLDER"] == str(DAGS)
    assert (DAGS / "stock_pipeline_dag.py").exists()
