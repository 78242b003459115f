"""`lmscope bench` of singular_values into benchmarks/results/singular_values.json; takes its options."""

from record import record

if __name__ == "__main__":
    raise SystemExit(record("singular_values"))
