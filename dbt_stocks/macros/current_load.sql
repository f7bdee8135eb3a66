{# Number of the newest load in the last successful build; later rows are new in this build.
   `tickhouse load` passes it as BUILT_LOAD (a change of --vars would make dbt parse the project
   anew); without the variable each model and test that needs the number asks the ledger. #}
{% macro built_load() -%}
    {%- if execute -%}
        {%- set passed = env_var('BUILT_LOAD', '') -%}
        {%- if passed -%} {{- return(passed | int) -}} {%- endif -%}
        {%- set ledger = api.Relation.create(
            database=target.database, schema='raw', identifier='build_ledger'
        ) -%}
        {%- set found = run_query(
            "select coalesce(max(load_id), 0) from " ~ ledger ~ " where status = 'built'"
        ) -%}
        {{- return(found.rows[0][0] | int) -}}
    {%- endif -%}
    {{- return(0) -}}
{%- endmacro %}

{# Session dates of a pass of `tickhouse load --rebuild`, which passes them as REBUILD_DATES: the first,
   the last, and `first` or `later` for the pass itself. None in other builds. #}
{% macro rebuilt_dates() -%}
    {%- if execute -%}
        {%- set passed = env_var('REBUILD_DATES', '') -%}
        {%- if passed -%} {{- return(passed.split(' ')) -}} {%- endif -%}
    {%- endif -%}
    {{- return(none) -}}
{%- endmacro %}

{# True for the rows of `name` that a pass of a rebuild is about. Coverage has a minute instead of a
   session date. Rejections have neither: trades of every pass look up all of them, so that none is
   new after the first pass. Watermarks are a row per symbol. Rows without a date are of the first. #}
{% macro in_rebuilt_dates(name, prefix) -%}
    {%- set number = rebuilt_dates()[2] -%}
    {%- if name.endswith('watermarks') -%} {{- return('1 = 1') -}} {%- endif -%}
    {%- if name.endswith('rejected') -%}
        {{- return('1 = 1' if number == 'first' else '1 = 0') -}}
    {%- endif -%}
    {%- set date = 'cast(' ~ prefix ~ 'minute as date)'
        if name.endswith('coverage') else prefix ~ 'session_date' -%}
    {%- set undated = ' or ' ~ date ~ ' is null' if number == 'first' else '' -%}
    {{- return('(' ~ between_rebuilt_dates(date) ~ undated ~ ')') -}}
{%- endmacro %}

{# Condition that the expression `date` is among the session dates of a pass. #}
{% macro between_rebuilt_dates(date) -%}
    {%- set first_date, last_date = rebuilt_dates()[:2] -%}
    {{- return(
        date ~ " between cast('" ~ first_date ~ "' as date) and cast('" ~ last_date ~ "' as date)"
    ) -}}
{%- endmacro %}

{# True for rows added since the last successful build; for all rows on a full refresh; in a pass of
   a rebuild for the rows of its session dates. #}
{% macro is_new(alias) -%}
    {%- if rebuilt_dates() -%} {{ in_rebuilt_dates(alias, alias ~ '.') }}
    {%- elif is_incremental() -%} {{ alias }}._load_id > {{ built_load() }} {%- else -%} 1 = 1 {%- endif -%}
{%- endmacro %}

{# Data tests with `where: __this_load__` check only rows that are new in this build, so that their
   cost does not grow with history; with `--vars 'full_table: true'` they check all rows. #}
{% macro get_where_subquery(relation) -%}
    {%- set where = config.get('where', '') -%}
    {%- if not where -%} {{- return(relation) -}} {%- endif -%}
    {%- if var('full_table') -%} {%- set this_load = '1 = 1' -%}
    {%- elif rebuilt_dates() -%} {%- set this_load = in_rebuilt_dates(relation.identifier, '') -%}
    {%- else -%} {%- set this_load = '_load_id > ' ~ built_load() -%}
    {%- endif -%}
    {%- set where = where | replace('__this_load__', this_load) -%}
    {{- return('(select * from ' ~ relation ~ ' where ' ~ where ~ ') as dbt_subquery') -}}
{%- endmacro %}
