"""`lmscope bench` of lasso into benchmarks/results/lasso.json; takes its options."""

from record import record

if __name__ == "__main__":
    raise SystemExit(record("lasso"))
