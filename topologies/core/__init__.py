"""What a candle is: pure rules, without Kafka, Quix Streams, a clock or I/O."""
