"""ALBERT: text to examples, the network, its training and its weights. Needs neither TFX nor Beam."""
