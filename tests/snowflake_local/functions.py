"""The words that may stand before a parenthesis in SQL for Snowflake."""

from __future__ import annotations

from sqlglot.dialects.snowflake import Snowflake
from sqlglot.tokens import TokenType

_FUNCTIONS = """
abs any_value avg coalesce concat contains convert_timezone count count_if current_timestamp
date_trunc dateadd datediff extract first_value flatten floor greatest iff lag last_value lead least
left length listagg ln lower max max_by md5 median min min_by mod nullif rank dense_rank
regexp_replace replace right round row_number sign split split_part sqrt stddev stddev_samp substr
sum sysdate time_slice to_char translate trim try_cast upper
"""
FUNCTIONS = frozenset(_FUNCTIONS.split())
"""Functions that Snowflake documents, with the meaning that the models rely on in DuckDB too."""

_SYNTAX = """
all and as by case cast distinct else exists filter from group in insert into join not on or over
partition select set table then using values view when where with within
char decimal number timestamp_ntz varchar
"""
SYNTAX = frozenset(_SYNTAX.split())


def unknown_functions(sql: str) -> set[str]:
    """Words before a parenthesis that are neither syntax nor one of `FUNCTIONS`, in lower case.

    Words, not nodes of a parsed statement: sqlglot gives functions of several dialects one node.
    """
    tokens = Snowflake().tokenize(sql)
    called = {
        token.text.lower()
        for before, token, following in zip([None, *tokens], tokens, tokens[1:], strict=False)
        if following.token_type == TokenType.L_PAREN
        and not (before and before.token_type == TokenType.DOT)  # table.name (column, ...)
        and (token.text[:1].isalpha() or token.text[:1] == "_")
        and token.token_type not in (TokenType.STRING, TokenType.IDENTIFIER)
    }
    return called - FUNCTIONS - SYNTAX
