"""`lmscope bench` of couplings into benchmarks/results/couplings.json; takes its options."""

from record import record

if __name__ == "__main__":
    raise SystemExit(record("couplings"))
