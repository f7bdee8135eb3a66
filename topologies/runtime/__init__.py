"""Extensions of Quix Streams. Nothing in this package depends on candles."""
