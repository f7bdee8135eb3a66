"""Privileges of a load by an external stage; fakesnow, which these need, lacks connector 5."""

from __future__ import annotations

from collections.abc import Callable

from app.settings import Settings
from app.warehouse import snowflake_check
from app.warehouse.commands import load
from tests.integration.warehouse.conftest import first_load
from tests.integration.warehouse.lake_writer import trade
from tests.integration.warehouse.on_snowflake import OnSnowflake
from tests.integration.warehouse.test_snowflake_external import EXTERNAL
from tests.snowflake_local.privileges import Account
from tests.snowflake_local.process import LocalSnowflake


def test_the_loader_may_do_what_it_sends_and_needs_each_privilege(
    local_snowflake: LocalSnowflake, lake_settings: Callable[..., Settings]
) -> None:
    on_lake = OnSnowflake(local_snowflake, lake_settings(), **EXTERNAL)
    first_load(on_lake.lake)
    key = on_lake.lake.put("trades", [trade("AAPL", 1, "10")])
    on_lake.lake.put_table(key, on_lake.lake.table(key).drop_columns(["price"]))
    snowflake_check.check(on_lake.settings)
    load(on_lake.settings)
    settings, account = on_lake.settings, Account()
    sent = [s for s in on_lake.server.statements(on_lake.before) if s["user"] == "TICKHOUSE"]
    lacking = {
        statement["sql"]: found
        for statement in sent
        if (
            found := account.missing_privileges(
                statement["role"],
                statement["warehouse"],
                settings.snowflake_database,
                statement["sql"],
            )
        )
    }

    assert lacking == {}
    on_stage = {g for g in account.grants if g.name == f"{settings.snowflake_database}.RAW.LAKE"}
    assert {(g.role, g.privilege) for g in on_stage} == {("TICKHOUSE_LOADER", "USAGE")}
    assert on_stage <= account.used
