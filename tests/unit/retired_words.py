"""Retired words: private vocabulary that names and docstrings must not use any longer.

`NAMES` are compared with each word of an identifier (`LiveBook` has `live` and `book`),
`EXACT_NAMES` with the complete identifier. `DOCSTRINGS` are regular expressions, matched at word
boundaries, ignoring case.
"""

from __future__ import annotations

NAMES: dict[str, str] = {
    "life": "incarnation",
    "lives": "incarnations",
    "reliving": "playback",
    "turn": "batch",
    "turns": "batches",
    "overlap": "pipelined commits",
    "overlapping": "pipelined",
    "settle": "wait_for_commit",
    "enlist": "add_to_transaction",
    "hurry": "flush_soon",
    "spare": "tune_gc",
    "prove": "verify",
    "forget": "clear",
    "hot": "cached",
    "refusal": "rejection",
    "refusals": "rejections",
    "refused": "rejected",
    "places": "indices",
    "meaning": "effect",
    "meanings": "effects",
    "told": "reported",
    "tells": "reports",
    "said": "reported",
    "says": "reports",
    "tell": "report",
    "say": "report",
    "tally": "counters",
    "intake": "FeedSession",
    "outlet": "Outbox",
    "pulse": "activity, or notifier",
    "pulses": "activity tracker",
    "beat": "tick",
    "mute": "silent",
    "heard": "received",
    "dark": "gap",
    "uncovered": "gap",
    "usual": "typical",
    "everything": "all of what it is",
    "whole": "full, complete or atomic",
    "look": "read, list or check",
    "looks": "reads, lists or checks",
    "horizon": "allowed_lateness",
    "joiner": "coalescer",
    "fence": "last_object_offset",
    "leftovers": "orphans",
    "marathon": "soak test",
}
"""Words of an identifier, and what to use instead."""

EXACT_NAMES: dict[str, str] = {
    "one": "the name of what it is",
    "Broker": "ConnectionState",
    "Line": "SymbolSummary, or FeedConnection",
    "LiveBook": "LiveCandles",
    "Mark": "CoverageCheckpoint",
    "PairedProducer": "AlternatingProducer",
    "LifeWatch": "IncarnationWatch",
}
"""Identifiers that are retired as they are, but not as a part of others."""

ALLOWED_NAMES = frozenset(
    {
        "__life_cycle__",
        "tell",
    }
)
"""Identifiers that contain a retired word in another, common meaning."""

DOCSTRINGS: dict[str, str] = {
    r"(made|make|makes|making) (it |them )?(again|anew)": "recreated, rebuilt or recomputed",
    r"(former|new|several|two|all) (life|lives)": "incarnation",
    r"(life|lives) of (a|the|its|their) topics?": "incarnation of a topic",
    r"a topic's (life|lives)": "incarnation",
    r"lived? through": "played back",
    r"enlist(ed|s)?|hurr(y|ies)": "add to the transaction; flush soon",
    r"refus(al|als|ed|es|ing)": "rejection, rejected",
    r"(is|are|was|were|be|been|not) told": "reported",
    r"tells?|says?|said": "reports, emits, logs or publishes",
    r"everything": "all of what it is",
    r"look(s|ed|ing)?( at)?": "read, check or inspect",
    r"heard": "received",
    r"dark": "without coverage, a gap",
    r"goes by|go by": "follows",
    r"so many": "the number",
    r"is none|is no more|no more than": "at most; does not exist",
    r"lets? go": "release",
    r"of now": "current",
    r"tally": "counters",
    r"horizons?": "allowed lateness",
    r"joiner": "coalescer",
    r"leftovers?": "orphan processes",
    r"marathon": "soak test",
    r"(a|one) (row|trade|message|record|watermark) a (symbol|message|minute|second|day)": "per",
}
"""Phrases of a docstring, and what to use instead."""
