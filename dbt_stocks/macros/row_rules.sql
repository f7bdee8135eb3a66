{# What each row of a dataset must fulfil to enter silver: name and expression. A row for which one of
   them is not true (false or null) is set aside in silver_quarantine with the name of the first. Sums
   of numbers in these ranges fit silver's types. The load rejects objects with a null in a column
   without which a row cannot be identified, so those columns are not null here. #}
{% macro row_rules(dataset) -%}
    {%- set lengths = "case candle_interval when '1m' then 60000 when '5m' then 300000 when '15m' then"
        ~ " 900000 when '1h' then 3600000 else 86400000 end" -%}
    {%- set sessions = "session in ('pre', 'regular', 'post', 'closed', 'continuous')" -%}
    {%- if dataset == 'candles' -%}
        {{- return({
            'is_complete': are_present([
                'symbol', 'feed', 'candle_interval', 'window_start', 'window_end', 'session_date',
                'open', 'high', 'low', 'close', 'open_time', 'close_time', 'volume', 'notional',
                'trade_count', 'eligible_count', 'odd_lot_count', 'odd_lot_volume',
                'zero_volume_count', 'price_source', 'status', 'revision'
            ]),
            'interval_is_known': "candle_interval in ('1m', '5m', '15m', '1h', '1d')",
            'low_is_lowest': "low <= open and low <= close and low <= high",
            'high_is_highest': "high >= open and high >= close",
            'prices_are_positive': "low > 0",
            'window_fits_its_interval': elapsed_ms('window_start', 'window_end')
                ~ " between case candle_interval when '1m' then 60000 else 1 end and " ~ lengths,
            'session_is_known': sessions,
            'session_date_is_that_of_the_window': date_fits('window_start'),
            'sums_are_in_range': "volume >= 0 and volume < 1e16 and notional >= 0 and notional < 1e16"
                ~ " and odd_lot_volume >= 0 and odd_lot_volume <= volume",
            'counts_are_in_range': "trade_count between 0 and 1000000000 and eligible_count >= 0"
                ~ " and odd_lot_count >= 0 and zero_volume_count between 0 and 1000000000"
                ~ " and coalesce(late_count, 0) between 0 and 1000000000"
                ~ " and coalesce(out_of_order_count, 0) between 0 and 1000000000"
                ~ " and coalesce(duplicate_count, 0) between 0 and 1000000000",
            'counts_are_within_trades':
                "eligible_count <= trade_count and odd_lot_count <= trade_count",
            'volume_needs_trades': "(volume = 0) = (trade_count = 0)",
            'vwap_is_null_only_at_volume_0': "(vwap is null) = (volume = 0)",
            'vwap_is_a_price': "vwap is null or vwap > 0 and vwap < 1e16",
            'vwap_is_within_the_range_where_every_trade_may_set_it': "candle_interval <> '1m'"
                ~ " or price_source <> 'last' or eligible_count < trade_count or volume = 0 or vwap"
                ~ " between cast(low as double) * 0.999999999 and cast(high as double) * 1.000000001",
            'price_source_is_known': "price_source in ('last', 'high_low', 'ineligible', 'quote')",
            'status_is_known': "(status = 'final' and revision = 0) or (status in ('final', 'revised')"
                ~ " and revision between 1 and 1000000000)",
            'covered_is_within_the_window': "covered_ms is null or covered_ms between 0 and "
                ~ elapsed_ms('window_start', 'window_end')
        }) -}}
    {%- elif dataset == 'trades' -%}
        {{- return({
            'is_complete': are_present([
                'symbol', 'feed', 'received_at', 'trade_time', 'price', 'size', 'notional',
                'session_date'
            ]),
            'price_is_positive': "price > 0",
            'size_is_not_negative': "size >= 0",
            'notional_is_price_times_size': "abs(cast(notional as double) - cast(price as double)"
                ~ " * cast(size as double)) <= 0.000001 + 0.000000001 * cast(notional as double)",
            'session_is_known': sessions,
            'session_date_is_that_of_the_trade': date_fits('trade_time')
        }) -}}
    {%- elif dataset == 'quotes' -%}
        {{- return({
            'is_complete': are_present([
                'symbol', 'feed', 'quote_time', 'current_price', 'session_date'
            ]),
            'session_date_is_that_of_the_quote': date_fits('quote_time')
        }) -}}
    {%- elif dataset == 'coverage' -%}
        {{- return({
            'covered_is_within_the_minute': "covered_ms is null or covered_ms between 0 and 60000"
        }) -}}
    {%- endif -%}
    {%- do exceptions.raise_compiler_error("There are no rules for dataset " ~ dataset ~ ".") -%}
{%- endmacro %}

{# The name of the first rule of a dataset that a row breaks, or null. #}
{% macro broken_rule(dataset) -%}
    case
            {%- for name, rule in row_rules(dataset).items() %}
            when not coalesce({{ rule }}, false) then '{{ name }}'
            {%- endfor %}
        end
{%- endmacro %}

{% macro are_present(columns) -%}
    {{- return(columns | join(" is not null and ") ~ " is not null") -}}
{%- endmacro %}

{# A session date is that of the exchange's clock or of UTC: within a day of the moment. #}
{% macro date_fits(moment) -%}
    {{- return(
        elapsed_ms('cast(session_date as timestamp)', moment) ~ " between -86400000 and 172800000"
    ) -}}
{%- endmacro %}
