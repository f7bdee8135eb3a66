{# Compares every one-minute candle whose inputs are all loaded with the candle of silver's trades,
   recomputed by the rules of the candles application, and every rollup with the merge of silver's
   minutes. Prints a line of JSON: the number of candles and rollups compared, the number that differ,
   and the first `examples` of these. A rollup of a minute that differs is not compared: it differs
   with its minute. Not part of a build:
   `dbt run-operation audit --args '{since: 2024-03-05, until: 2024-03-05}'` #}
{% macro audit(since=none, until=none, allowed_lateness_ms=900000, examples=100) -%}
    {%- set counts, differences = [], [] -%}
    {%- for table, query in [
        ('audited_candles', audited_candles(since, until, allowed_lateness_ms)),
        ('audited_rollups', audited_rollups(since, until))
    ] -%}
        {%- do run_query("create or replace temporary table " ~ table ~ " as " ~ query) -%}
        {%- set counted = run_query("select count(*), count(kind) from " ~ table) -%}
        {%- do counts.append(counted.rows[0].values() | map('int') | list) -%}
        {%- set listed = run_query(
            "select kind, symbol, candle_interval, cast(window_start as varchar), field, found, expected"
            ~ " from " ~ table ~ " where kind is not null order by 2, 3, 4 limit " ~ examples | int
        ) -%}
        {%- for row in listed.rows -%} {%- do differences.append(row.values() | list) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- do print('AUDIT ' ~ tojson({
        'candles': counts[0][0],
        'rollups': counts[1][0],
        'differing': counts[0][1] + counts[1][1],
        'differences': differences
    })) -%}
{%- endmacro %}

{# Condition that a row is of an audited session date. #}
{% macro is_audited(since, until) -%}
    {{ "session_date >= " ~ text_literal(since) if since else "1 = 1" }}
    {{- " and session_date <= " ~ text_literal(until) if until }}
{%- endmacro %}

{# Of the first field of `table` that differs from what is expected its name, its value (`found`), or
   the expected one. `fields` lists the name, the expected expression, and a condition under which the
   field is not compared, or none. #}
{% macro first_difference(table, fields, result) -%}
    case
            {%- for name, expected, unless in fields %}
            when
                {{ table }}.{{ name }} is distinct from {{ expected }}
                {{- " and not (" ~ unless ~ ")" if unless }}
                then {% if result == 'field' -%} '{{ name }}'
                {%- elif result == 'found' -%} cast({{ table }}.{{ name }} as varchar)
                {%- else -%} cast({{ expected }} as varchar) {%- endif %}
            {%- endfor %}
        end
{%- endmacro %}
