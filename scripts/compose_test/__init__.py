"""`make compose-test`: compose.yaml through a start, failures and an end, in Docker."""
