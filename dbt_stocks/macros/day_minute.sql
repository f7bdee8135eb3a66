{# The minute of the exchange's day: on New York's clock, in UTC where trading is continuous. #}
{% macro day_minute(session, session_date, moment) -%}
    (
        case
            when {{ session }} = 'continuous'
                then {{ elapsed_ms('cast(' ~ session_date ~ ' as timestamp)', moment) }}
            else {{ elapsed_ms('cast(' ~ session_date ~ ' as timestamp)', new_york_time(moment)) }}
        end / 60000
    )
{%- endmacro %}
