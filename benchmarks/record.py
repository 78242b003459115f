"""`lmscope bench` of one kernel family, its record in benchmarks/results; takes the verb's options."""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def record(family: str) -> int:
    """Exit code of the bench."""
    # With --quick the record goes elsewhere: results/ holds what the README quotes.
    folder = HERE.parent / "build" / "benchmarks" if "--quick" in sys.argv else HERE / "results"
    command = [
        sys.executable,
        "-m",
        "lmscope",
        "bench",
        "--family",
        family,
        "-o",
        str(folder / f"{family}.json"),
    ]
    return subprocess.run([*command, *sys.argv[1:]], cwd=HERE.parent).returncode
