"""Weights in and out: one table of names (`names.py`), one file per format.

Between formats, weights are a dict of float32 arrays under Google's TF1 checkpoint names ("canonical weights").
"""
