"""What all verbs print alike: JSON, messages, errors with their exit codes."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from lmscope.visible import visible

if TYPE_CHECKING:
    from rich.console import Console

_PIPED_WIDTH = 200
_CONTINUES = "what is done is kept once the RUN folder is there; the same command continues in it"


def console() -> Console:
    """Stdout: colours and the terminal's width on a terminal, neither where it is piped."""
    from rich.console import Console

    piped = not sys.stdout.isatty()
    width = _PIPED_WIDTH if piped and "COLUMNS" not in os.environ else None
    return Console(highlight=False, width=width)


def print_json(value: Any) -> None:
    """One JSON object; what is not finite becomes null, as JSON has no word for it."""
    typer.echo(json.dumps(_plain(value), indent=2, allow_nan=False))


def message(kind: str, text: str) -> None:
    """``lmscope: warning: ...`` on stderr; one line where it is no terminal."""
    text = visible(text)
    if not sys.stderr.isatty():
        print(f"lmscope: {kind}: {text}", file=sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    style = {"error": "bold red", "warning": "bold yellow"}.get(kind, "bold")
    Console(stderr=True, highlight=False).print(Text.assemble("lmscope: ", (kind, style), ": ", text))


class _Messages(logging.Handler):
    """Warnings of the library as messages of the command line."""

    def emit(self, record: logging.LogRecord) -> None:
        message("warning" if record.levelno < logging.ERROR else "error", record.getMessage())


def show_warnings() -> None:
    """Send what the library logs to stderr."""
    logger = logging.getLogger("lmscope")
    if not any(isinstance(handler, _Messages) for handler in logger.handlers):
        logger.addHandler(_Messages(logging.WARNING))
        logger.propagate = False


@contextmanager
def errors_to_exit_codes(*, as_json: bool, kept: str = _CONTINUES) -> Iterator[None]:
    """Turn what a verb raises into a line on stderr and an exit code; LMSCOPE_DEBUG=1 shows the traceback.

    ``kept`` says what an interrupted or failed command leaves, and what it does when it is given again.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt:
        code = _report("KeyboardInterrupt", f"interrupted; {kept}", 1, as_json)
        from lmscope.runs.side_by_side import SideBySide

        if SideBySide.left_behind:
            # Python would wait for the matrices under way.
            sys.stdout.flush()
            os._exit(code)
        raise typer.Exit(code) from None
    except BrokenPipeError:
        raise
    except Exception as error:
        if os.environ.get("LMSCOPE_DEBUG", "0") not in ("", "0"):
            raise
        _fail(error, as_json, kept)


def _fail(error: Exception, as_json: bool, kept: str) -> NoReturn:
    code = _report(type(error).__name__, _text(error, kept), _exit_code(error), as_json)
    raise typer.Exit(code) from None


def wrong_usage(error: Any, *, verb: str | None, as_json: bool) -> int:
    """Report what the parser of the command line raised; gives the exit code."""
    command = f"lmscope {verb}" if verb else "lmscope"
    text = f"{error.format_message().rstrip('.')}; `{command} -h` shows what there is"
    return _report("UsageError", " ".join(text.split()), 2, as_json)


def _report(kind: str, text: str, code: int, as_json: bool) -> int:
    message("error", text)
    if as_json:
        print_json({"error": {"kind": kind, "message": text}, "exit_code": code})
    return code


def _exit_code(error: Exception) -> int:
    from lmscope.checkpoints import CheckpointError
    from lmscope.runs.errors import UsageError

    if isinstance(error, UsageError) or str(error).startswith("LMSCOPE_ISA="):
        return 2
    if isinstance(error, CheckpointError):
        return 3
    # Only a verb that writes has loaded the results room, which costs a tenth of a second.
    results = sys.modules.get("lmscope.results")
    return 2 if results is not None and isinstance(error, results.WrongFolder) else 1


def _text(error: Exception, kept: str) -> str:
    known = type(error).__module__.startswith("lmscope.")
    text = " ".join(str(error).split())
    if known and text:
        return text
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        # Only a verb that writes has loaded the results room.
        left = f"; {kept}" if "lmscope.results" in sys.modules else ""
        return f"{error.strerror}{where}{left}"
    if isinstance(error, ValueError) and text.startswith("LMSCOPE_ISA="):
        return text
    return f"{type(error).__name__}: {text} (LMSCOPE_DEBUG=1 shows where)"


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value
