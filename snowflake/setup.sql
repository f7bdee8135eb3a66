-- Everything that Tickhouse needs in a Snowflake account. `tickhouse warehouse init` runs it, and
-- `tickhouse warehouse init --dry-run` prints it with the names of your settings. Running it again
-- changes nothing that is there but the monitor's quota. It needs ACCOUNTADMIN, once: no role below can create anything
-- outside its own schemas.

use role ACCOUNTADMIN;

-- A budget: the monitor suspends the warehouse when the month's credits are used up. The number is
-- SNOWFLAKE_MONTHLY_CREDITS.
create resource monitor if not exists TICKHOUSE_MONITOR with
    credit_quota = 820 frequency = monthly start_timestamp = immediately
    triggers on 80 percent do notify on 100 percent do suspend on 110 percent do suspend_immediate;
alter resource monitor TICKHOUSE_MONITOR set credit_quota = 820;

-- It resumes with the first statement and suspends after a minute without one.
create warehouse if not exists TICKHOUSE with
    warehouse_size = xsmall auto_suspend = 60 auto_resume = true initially_suspended = true
    statement_timeout_in_seconds = 1800 resource_monitor = TICKHOUSE_MONITOR;

create database if not exists STOCKS;
create schema if not exists STOCKS.RAW;
create schema if not exists STOCKS.BRONZE;
create schema if not exists STOCKS.SILVER;
create schema if not exists STOCKS.GOLD;

create stage if not exists STOCKS.RAW.LANDING
    comment = 'Files of a load in progress, in a folder per run';

create role if not exists TICKHOUSE_LOADER;
create role if not exists TICKHOUSE_TRANSFORMER;
create role if not exists TICKHOUSE_REPORTER;

grant usage on warehouse TICKHOUSE to role TICKHOUSE_LOADER;
grant usage on warehouse TICKHOUSE to role TICKHOUSE_TRANSFORMER;
grant usage on warehouse TICKHOUSE to role TICKHOUSE_REPORTER;
grant usage on database STOCKS to role TICKHOUSE_LOADER;
grant usage on database STOCKS to role TICKHOUSE_TRANSFORMER;
grant usage on database STOCKS to role TICKHOUSE_REPORTER;

-- The loader adds rows to RAW, and replaces a rejected object's row of the ledger. It reads the view
-- of rejected objects, which each `init` replaces: a replaced view gets the grants on future views.
grant usage on schema STOCKS.RAW to role TICKHOUSE_LOADER;
grant insert, select, delete on all tables in schema STOCKS.RAW to role TICKHOUSE_LOADER;
grant insert, select, delete on future tables in schema STOCKS.RAW to role TICKHOUSE_LOADER;
grant select on future views in schema STOCKS.RAW to role TICKHOUSE_LOADER;
grant read on stage STOCKS.RAW.LANDING to role TICKHOUSE_LOADER;
grant write on stage STOCKS.RAW.LANDING to role TICKHOUSE_LOADER;

-- dbt reads RAW and owns the schemas that it builds; it cannot create further schemas.
grant usage on schema STOCKS.RAW to role TICKHOUSE_TRANSFORMER;
grant select on all tables in schema STOCKS.RAW to role TICKHOUSE_TRANSFORMER;
grant select on future tables in schema STOCKS.RAW to role TICKHOUSE_TRANSFORMER;
grant ownership on schema STOCKS.BRONZE to role TICKHOUSE_TRANSFORMER copy current grants;
grant ownership on schema STOCKS.SILVER to role TICKHOUSE_TRANSFORMER copy current grants;
grant ownership on schema STOCKS.GOLD to role TICKHOUSE_TRANSFORMER copy current grants;

-- Page and report read gold; dbt grants SELECT on each view that it builds or replaces.
grant usage on schema STOCKS.GOLD to role TICKHOUSE_REPORTER;

-- Administrators keep access to what the roles own.
grant role TICKHOUSE_LOADER to role SYSADMIN;
grant role TICKHOUSE_TRANSFORMER to role SYSADMIN;
grant role TICKHOUSE_REPORTER to role SYSADMIN;

-- The user of load, dbt and page, with a key of its own. Its parameters are those of the pipeline's
-- sessions, so that dbt by hand, whose profile cannot set them, casts times in the same way:
--   create user TICKHOUSE type = service default_warehouse = TICKHOUSE
--       default_role = TICKHOUSE_LOADER default_secondary_roles = ()
--       timezone = 'UTC' timestamp_type_mapping = 'TIMESTAMP_NTZ' abort_detached_query = true
--       rsa_public_key = 'MIIBIjANBgkqh…';
--   grant role TICKHOUSE_LOADER to user TICKHOUSE;
--   grant role TICKHOUSE_TRANSFORMER to user TICKHOUSE;
--   grant role TICKHOUSE_REPORTER to user TICKHOUSE;
-- Only from your own addresses:
--   create network policy TICKHOUSE_ADDRESSES allowed_ip_list = ('203.0.113.0/24');
--   alter user TICKHOUSE set network_policy = TICKHOUSE_ADDRESSES;
