{# A UTC time on the exchange's clock: New York time, or UTC for continuous trading. #}
{% macro exchange_time(session, moment) -%}
    case
            when {{ session }} = 'continuous' then {{ moment }}
            else {{ new_york_time(moment) }}
        end
{%- endmacro %}

{# Minute of the exchange's day. #}
{% macro day_minute(session, session_date, moment) -%}
    (
        cast({{ elapsed_ms(
            'cast(' ~ session_date ~ ' as timestamp)', exchange_time(session, moment)
        ) }} as double) / 60000
    )
{%- endmacro %}
