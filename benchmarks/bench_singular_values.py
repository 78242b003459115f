"""`lmscope bench`, its record in benchmarks/results/singular_values.json; takes its options."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

if __name__ == "__main__":
    # With --quick the record goes elsewhere: results/ holds what the README quotes.
    folder = HERE.parent / "build" / "benchmarks" if "--quick" in sys.argv else HERE / "results"
    command = [
        sys.executable,
        "-m",
        "lmscope",
        "bench",
        "-o",
        str(folder / "singular_values.json"),
        *sys.argv[1:],
    ]
    raise SystemExit(subprocess.run(command, cwd=HERE.parent).returncode)
