with gold_data_quality as (

    select * from {{ ref('gold_data_quality') }}

),

gold_kpi as (

    select * from {{ ref('gold_kpi') }}

),

known_symbols as (

    select * from {{ ref('symbols') }}

),

symbol_classes as (

    select * from {{ ref('symbol_classes') }}

),

symbols as (

    select
        symbol,
        max(feed) as feed
    from (
        select symbol, feed from gold_data_quality
        union all
        select symbol, feed from gold_kpi
    ) as known
    group by symbol

),

-- a symbol's class follows from its venue, or from the root before a contract's year and month
marks as (

    select
        symbol,
        feed,
        case when symbol like '%:%' then 'venue' else 'root' end as kind,
        case
            when symbol like '%:%' then split_part(symbol, ':', 1)
            when
                translate(right(symbol, 6), '0123456789', '') = ''
                and right(symbol, 2) between '01' and '12'
                then left(symbol, length(symbol) - 6)
        end as name
    from symbols

),

classes as (

    select
        marks.symbol,
        marks.feed,
        case when symbol_classes.kind = 'venue' then marks.name end as venue,
        coalesce(
            symbol_classes.symbol_class,
            case
                when
                    marks.kind = 'venue' or marks.symbol like '^%' or marks.symbol like '%=%'
                    then 'other'
                else 'us_stock'
            end
        ) as symbol_class
    from marks
    left join symbol_classes
        on marks.kind = symbol_classes.kind and marks.name = symbol_classes.name

),

final as (

    select
        classes.symbol,
        coalesce(known_symbols.name, classes.symbol) as name,
        coalesce(
            known_symbols.sector,
            case classes.symbol_class
                when 'crypto' then 'Crypto'
                when 'forex' then 'Forex'
                when 'future' then 'Futures'
                else 'Other'
            end
        ) as sector,
        coalesce(known_symbols.exchange, classes.venue, 'Other') as exchange,
        classes.symbol_class,
        classes.feed
    from classes
    left join known_symbols on classes.symbol = known_symbols.symbol

)

select * from final
