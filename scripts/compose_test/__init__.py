"""`make compose-test`: take compose.yaml through a start, failures and an end, in Docker."""
