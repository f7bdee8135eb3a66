"""A local stand-in for Snowflake, for tests: fakesnow's server with what the pipeline needs added.

The real connector and the real dbt-snowflake talk to it over HTTP; DuckDB executes the statements.
It is an emulation: nothing here has been compared with a Snowflake account. Known differences:

- PRIMARY KEY and UNIQUE are enforced, the length of VARCHAR(n) is not.
- NUMBER(38, 0) holds 64 bits. AVG and `/` of NUMBER give FLOAT, where Snowflake gives NUMBER.
- SQL that only DuckDB knows is accepted.
- Roles are recorded with each statement, but grant and deny nothing; any login is accepted. SHOW
  GRANTS TO ROLE names what was granted since the server started.
- PUT always overwrites, and COPY knows a file it has loaded by its name alone.
- Of COPY's error handling there is ABORT_STATEMENT only.
- Of two transactions that change the same rows the second fails at once instead of waiting.

`statements` lists what is accepted and only recorded. All else that cannot be executed
raises the error that Snowflake has for an unsupported feature.
"""
