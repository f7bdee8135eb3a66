with gold_data_quality as (

    select * from {{ ref('gold_data_quality') }}

),

gold_treechart as (

    select * from {{ ref('gold_treechart') }}

),

symbols as (

    select
        symbol,
        max(feed) as feed
    from gold_data_quality
    group by symbol

),

final as (

    select
        symbols.symbol,
        coalesce(gold_treechart.sector, 'Other') as sector,
        symbols.feed
    from symbols
    left join gold_treechart on symbols.symbol = gold_treechart.symbol

)

select * from final
