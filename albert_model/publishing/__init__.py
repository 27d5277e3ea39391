"""Encoders for others: the check of an export, versions at a destination, model cards. Knows nothing of TFX."""
