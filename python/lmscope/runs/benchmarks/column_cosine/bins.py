"""Bins of the histogram, on both sides of zero."""

BINS = 2048
