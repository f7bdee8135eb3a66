{# An aggregate over the last 20 candles of a group, including this one. #}
{% macro trailing(aggregate, group, order='window_start') -%}
    {{ aggregate }} over (
            partition by {{ group }}
            order by {{ order }}
            rows between 19 preceding and current row
        )
{%- endmacro %}
