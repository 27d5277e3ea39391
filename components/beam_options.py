"""Beam's options, as components get them."""

from __future__ import annotations

from collections.abc import Sequence

_LOCAL_RUNNERS = ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner")


def for_components(options: Sequence[str]) -> list[str]:
    """The options, with one that local runners make no use of.

    Where no image is named, TFX packs itself for workers elsewhere, anew for each component: two seconds, and about
    50 MB in the temporary folder that nobody removes.
    """
    is_local = any(f"--runner={runner}" in options for runner in _LOCAL_RUNNERS)
    return [*options, "--sdk_container_image=local"] if is_local else list(options)
