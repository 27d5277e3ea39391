"""Runs on a clock."""
