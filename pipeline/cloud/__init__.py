"""The pipeline on Vertex AI and Kubeflow: compiling, checking, submitting."""
