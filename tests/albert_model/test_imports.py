import subprocess
import sys

import pytest


def _modules_after(statement: str) -> set[str]:
    """Top-level modules that a statement leaves imported, in a process of its own."""
    code = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


def test_albert_model_needs_neither_tfx_nor_beam():
    everything = (
        "import pkgutil, importlib, albert_model\n"
        "for module in pkgutil.walk_packages(albert_model.__path__, 'albert_model.'):\n"
        "    importlib.import_module(module.name)"
    )
    modules = _modules_after(everything)
    assert {"tensorflow", "keras"} <= modules
    assert not modules & {"tfx", "apache_beam", "click", "yaml", "components", "pipeline"}


@pytest.mark.parametrize("module", ["albert_model.text.examples", "pipeline.cli", "pipeline.settings"])
def test_text_and_settings_need_no_tensorflow(module):
    assert not _modules_after(f"import {module}") & {"tensorflow", "keras", "tfx", "apache_beam"}
