"""The spin glass loads neither torch nor scipy before something asks for them."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("words", ["import lmscope; lmscope.spin_glass", "from lmscope import spin_glass"])
def test_the_room_is_light(words: str) -> None:
    script = f"import sys; {words}; print([name for name in ('torch', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_lmscope_alone_does_not_load_it() -> None:
    script = "import sys, lmscope; print('lmscope.spin_glass' in sys.modules, 'spin_glass' in dir(lmscope))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]
