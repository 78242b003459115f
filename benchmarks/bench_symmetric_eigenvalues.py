"""`lmscope bench` of symmetric_eigenvalues into a file in benchmarks/results; takes its options."""

from record import record

if __name__ == "__main__":
    raise SystemExit(record("symmetric_eigenvalues"))
