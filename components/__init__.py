"""TFX components: artifacts in, artifacts out. The algorithms are in `albert_model`."""

from components.artifacts import EncoderPackage, ParityReport, ProbeResult, Report, Tokenizer

__all__ = ["EncoderPackage", "ParityReport", "ProbeResult", "Report", "Tokenizer"]
