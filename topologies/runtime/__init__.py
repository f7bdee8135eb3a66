"""What Tickhouse adds to Quix Streams; nothing here knows what a candle is."""
