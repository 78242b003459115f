"""`lmscope bench` of token_averages into benchmarks/results/token_averages.json; takes its options."""

from record import record

if __name__ == "__main__":
    raise SystemExit(record("token_averages"))
