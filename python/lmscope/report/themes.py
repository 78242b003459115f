"""What all figures look like, on light and on dark ground; the colours are those of page.css."""

from __future__ import annotations

from typing import Any

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif'


def _theme(ink: str, soft: str, line: str, paper: str, accent: str) -> dict[str, Any]:
    axis = {"gridcolor": line, "zerolinecolor": line, "title": {"font": {"size": 13}}}
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": FONT, "size": 13, "color": ink},
        "hoverlabel": {"align": "left", "bgcolor": paper, "bordercolor": line, "font": {"color": ink}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": soft, "activecolor": accent},
        "template": {
            "layout": {
                "xaxis": axis,
                "yaxis": axis,
                "annotationdefaults": {"bgcolor": paper, "borderpad": 1},
            }
        },
    }


LIGHT = _theme(ink="#1c2630", soft="#5b6875", line="#dde3e8", paper="#ffffff", accent="#14608f")
DARK = _theme(ink="#e3e8ed", soft="#9aa7b4", line="#323c46", paper="#171d23", accent="#7cc0ea")
