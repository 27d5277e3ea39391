"""Beam's options, as components get them."""

from __future__ import annotations

from collections.abc import Sequence

# Workers are processes of this machine, or started elsewhere, with all that they need.
_WORKERS_HAVE_ALL = (
    *(f"--runner={runner}" for runner in ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner")),
    *(f"--environment_type={kind}" for kind in ("LOOPBACK", "EXTERNAL", "PROCESS")),
)


def for_components(options: Sequence[str], image: str | None = None) -> list[str]:
    """The options that Beam's pipelines get in components.

    `tfx` is imported first in each worker: it stands in for a module that tfx_bsl has no more, without which neither
    TFDV 1.16 nor all of TFMA can be imported. Workers in processes of their own would import one of them first.

    Where no image is named, TFX packs itself for workers elsewhere, anew for each component: two seconds, and about
    50 MB in the temporary folder that nobody removes. Workers that have all they need get the name of none.

    Args:
      options: as the settings have them.
      image: that other workers start from where the options name none.
    """
    has_all = any(option in options for option in _WORKERS_HAVE_ALL)
    is_named = any(option.startswith("--sdk_container_image=") for option in options)
    name = None if is_named else "local" if has_all else image
    return [*options, "--beam_plugin=tfx", *([f"--sdk_container_image={name}"] if name else [])]
