"""TFX components: artifacts in, artifacts out. The algorithms are in `albert_model`."""

from components.artifacts import ParityReport, Tokenizer

__all__ = ["ParityReport", "Tokenizer"]
