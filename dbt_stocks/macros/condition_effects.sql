{# What each combination of sale conditions in `trades` allows in each of their sessions: the rule
   of app.market.conditions.eligibility, with which a unit test compares it. Codes of a trade combine
   with AND; Form T updates prices in pre- and post-market minutes only. #}
{% macro condition_effects(trades) -%}
    select
        split_conditions.conditions,
        sessions.session,
        min(case
            when split_conditions.code = '' then 1
            when split_conditions.code = '24' and sessions.session in ('pre', 'post') then 1
            else coalesce(trade_conditions.high_low, 0)
        end) as high_low,
        min(case
            when split_conditions.code = '' then 1
            when split_conditions.code = '24' and sessions.session in ('pre', 'post') then 1
            else coalesce(trade_conditions.last, 0)
        end) as last,
        min(coalesce(trade_conditions.volume, 1)) as volume,
        max(case when split_conditions.code = '12' then 1 else 0 end) as odd_lot
    from ({{ split_codes(trades, 'conditions') }}) as split_conditions
    cross join (select distinct session from {{ trades }}) as sessions
    left join {{ ref('trade_conditions') }} as trade_conditions
        on split_conditions.code = cast(trade_conditions.code as varchar)
    group by split_conditions.conditions, sessions.session
{%- endmacro %}
