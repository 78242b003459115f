"""Colours and markers of roles, the same in every chart."""

from __future__ import annotations

from lmscope.report.figures import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION

# Colour and marker together name a role, the same one in every model.
ROLE_LOOKS = {
    "query": (BLUE, "circle"),
    "key": (VERMILLION, "square"),
    "value": (GREEN, "diamond"),
    "attention_output": (PURPLE, "cross"),
    "gate": (ORANGE, "triangle-up"),
    "up": (SKY, "triangle-down"),
    "down": (GREY, "x"),
    "router": (VERMILLION, "star"),
}
OTHER_LOOKS = [
    (BLUE, "hexagon-open"),
    (GREEN, "square-open"),
    (PURPLE, "diamond-open"),
    (ORANGE, "circle-open"),
    (GREY, "triangle-up-open"),
    (SKY, "star-open"),
]
