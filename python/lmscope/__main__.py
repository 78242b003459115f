"""``python -m lmscope``."""

from lmscope.cli import main

if __name__ == "__main__":
    main()
