{# Number of the newest load in the last successful build; later rows are new in this build. #}
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

{# True for rows added since the last successful build; for all rows on a full refresh. #}
{% macro is_new(alias) -%}
    {%- if is_incremental() -%} {{ alias }}._load_id > {{ built_load() }} {%- else -%} 1 = 1 {%- endif -%}
{%- endmacro %}

{# Data tests with `where: __this_load__` check only rows that are new in this build, so that their
   cost does not grow with history; with `--vars 'full_table: true'` they check all rows. #}
{% macro get_where_subquery(relation) -%}
    {%- set where = config.get('where', '') -%}
    {%- if not where -%} {{- return(relation) -}} {%- endif -%}
    {%- set this_load = '1 = 1' if var('full_table') else '_load_id > ' ~ built_load() -%}
    {%- set where = where | replace('__this_load__', this_load) -%}
    {{- return('(select * from ' ~ relation ~ ' where ' ~ where ~ ') as dbt_subquery') -}}
{%- endmacro %}
