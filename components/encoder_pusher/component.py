"""EncoderPusher: a blessed model → a new version of the encoder package."""

from __future__ import annotations

from tfx import types
from tfx import v1 as tfx
from tfx.components.pusher.component import Pusher
from tfx.dsl.components.base import executor_spec

from components.encoder_pusher import executor


class EncoderPusher(Pusher):
    """Publishes the encoder of a blessed model under `destination/<version>`.

    Outputs:
      pushed_model: PushedModel; its custom properties say where the package lies, or that nothing was pushed.

    Args:
      model: of Trainer.
      model_blessing: of Evaluator.
      destination: folder of the versions.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, model: types.BaseChannel, model_blessing: types.BaseChannel, destination: str):
        super().__init__(
            model=model,
            model_blessing=model_blessing,
            push_destination=tfx.proto.PushDestination(
                filesystem=tfx.proto.PushDestination.Filesystem(base_directory=destination)
            ),
        )
