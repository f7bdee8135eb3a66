"""The candle logic: pure rules, without Kafka, Quix Streams, a clock or I/O."""
