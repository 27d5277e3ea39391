import pytest

from pipeline.settings import PipelineSettings, load_settings
from tests.demo import ROOT


@pytest.fixture(scope="session")
def demo_settings() -> PipelineSettings:
    """The demo's, as somebody in the project's folder loads them."""
    overrides = {"model": str(ROOT / "configs" / "models" / "tiny.json")}
    overrides["corpus.path"] = str(ROOT / "tests" / "data" / "postgresql-manual")
    return load_settings(ROOT / "configs" / "pipelines" / "demo.yaml", overrides)
