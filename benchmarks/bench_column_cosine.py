"""`lmscope bench --family column_cosine`, its record in benchmarks/results/column_cosine.json; takes its options."""

from record import record

if __name__ == "__main__":
    raise SystemExit(record("column_cosine"))
