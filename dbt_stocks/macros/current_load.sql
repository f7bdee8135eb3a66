{# The number of the newest load that the last good build has seen: later rows are this build's. #}
{% macro built_load() -%}
    {%- if execute -%}
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

{# True of rows that came after the last good build; of all rows when a table is made anew. #}
{% macro is_new(alias) -%}
    {%- if is_incremental() -%} {{ alias }}._load_id > {{ built_load() }} {%- else -%} 1 = 1 {%- endif -%}
{%- endmacro %}

{# Data tests with `where: __this_load__` look only at rows of the load that is being built, so that
   their cost does not grow with history; `--vars 'full_table: true'` makes them look at all. #}
{% macro get_where_subquery(relation) -%}
    {%- set where = config.get('where', '') -%}
    {%- if not where -%} {{- return(relation) -}} {%- endif -%}
    {%- set this_load = '1 = 1' if var('full_table') else '_load_id > ' ~ built_load() -%}
    {%- set where = where | replace('__this_load__', this_load) -%}
    {{- return('(select * from ' ~ relation ~ ' where ' ~ where ~ ') as dbt_subquery') -}}
{%- endmacro %}
