"""A program of its own: unpickles all that is in Beam jobs.

Imports the plugins that it is told first, as a worker does. Prints, as JSON, how many functions and other things there
were, and the modules of this project that came along.

python load_jobs.py PLUGINS FILE ...
"""

from __future__ import annotations

import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from apache_beam.coders.coders import deserialize_coder
from apache_beam.internal import pickler
from apache_beam.portability import common_urns, python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from google.protobuf import wrappers_pb2

_OURS = {"albert_model", "components", "pipeline", "tests"}


def _urns(kind: Any) -> set[str]:
    return {value.urn for value in vars(kind).values() if hasattr(value, "urn")}


_PAR_DOS = {common_urns.primitives.PAR_DO.urn} | _urns(common_urns.sdf_components)
_COMBINES = _urns(common_urns.combine_components) | {
    common_urns.composites.COMBINE_PER_KEY.urn,
    common_urns.composites.COMBINE_GLOBALLY.urn,
}


def main(plugins: str, *paths: str) -> None:
    for name in filter(None, plugins.split(",")):
        importlib.import_module(name)
    counts: Counter[str] = Counter()
    for path in paths:
        job = beam_runner_api_pb2.Pipeline.FromString(Path(path).read_bytes())
        for function in _functions(job):
            counts[function.urn] += pickler.loads(function.payload) is not None
        for coder in job.components.coders.values():
            if coder.spec.urn == python_urns.PICKLED_CODER:
                pickled = wrappers_pb2.BytesValue.FromString(coder.spec.payload).value
                counts[coder.spec.urn] += deserialize_coder(pickled) is not None
    ours = sorted(name for name in sys.modules if name.split(".")[0] in _OURS)
    print(json.dumps({"counts": counts, "modules": ours}))


def _functions(job: Any) -> Iterator[Any]:
    """What is called for elements, and what combines them; less what Beam has a name for."""
    for node in job.components.transforms.values():
        if node.spec.urn in _PAR_DOS:
            function = beam_runner_api_pb2.ParDoPayload.FromString(node.spec.payload).do_fn
        elif node.spec.urn in _COMBINES:
            function = beam_runner_api_pb2.CombinePayload.FromString(node.spec.payload).combine_fn
        else:
            continue
        if function.urn in (python_urns.PICKLED_DOFN_INFO, python_urns.PICKLED_COMBINE_FN):
            yield function


if __name__ == "__main__":
    main(*sys.argv[1:])
