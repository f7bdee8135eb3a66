"""What the documents' figures come from: each prints a table and writes results/NAME.json."""
