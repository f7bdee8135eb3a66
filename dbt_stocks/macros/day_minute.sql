{# Minute of the exchange's day: in New York time, or UTC for continuous trading. #}
{% macro day_minute(session, session_date, moment) -%}
    (
        cast(case
            when {{ session }} = 'continuous'
                then {{ elapsed_ms('cast(' ~ session_date ~ ' as timestamp)', moment) }}
            else {{ elapsed_ms('cast(' ~ session_date ~ ' as timestamp)', new_york_time(moment)) }}
        end as double) / 60000
    )
{%- endmacro %}
