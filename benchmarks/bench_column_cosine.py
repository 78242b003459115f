"""`lmscope bench` of column_cosine into benchmarks/results/column_cosine.json; takes its options."""

from record import record

if __name__ == "__main__":
    raise SystemExit(record("column_cosine"))
