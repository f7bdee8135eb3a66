{# Where the rollup window begins that a minute lies in: on the exchange's clock, whose offset from
   UTC is whole hours. The regular session's first hour begins at half past nine. #}
{% macro bucket_start(interval) -%}
    {%- if interval == '1d' -%}
        cast(session_date as timestamp)
    {%- elif interval == '1h' -%}
        case
            when session = 'regular' and day_minute < 600
                then {{ plus_minutes(time_bucket(60, 'window_start'), 30) }}
            else {{ time_bucket(60, 'window_start') }}
        end
    {%- else -%}
        {{ time_bucket(interval[:-1], 'window_start') }}
    {%- endif -%}
{%- endmacro %}

{# Where it ends: the hour before the regular session is cut at half past nine. #}
{% macro bucket_end(interval) -%}
    {%- if interval == '1d' -%}
        {{ plus_minutes('cast(session_date as timestamp)', 1440) }}
    {%- elif interval == '1h' -%}
        case
            when session = 'pre' and day_minute >= 540
                then {{ plus_minutes(time_bucket(60, 'window_start'), 30) }}
            else {{ plus_minutes(time_bucket(60, 'window_start'), 60) }}
        end
    {%- else -%}
        {{ plus_minutes(time_bucket(interval[:-1], 'window_start'), interval[:-1]) }}
    {%- endif -%}
{%- endmacro %}
