"""What the clients of Vertex AI and Kubeflow do alike: patience, one thing of each name, clear errors."""

from __future__ import annotations

import abc
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from albert_model.errors import InputError
from pipeline.cloud.clients import NoNewsError, Run, ScheduleState
from pipeline.cloud.retries import LASTING, PATIENT, Patience, patiently, reason
from pipeline.settings import PipelineSettings

_log = logging.getLogger("albert.cloud")
Result = TypeVar("Result")
Made = TypeVar("Made")


class Service(abc.ABC):
    """Base of the clients.

    Args:
      settings: of the pipeline, with `cloud`.
      patience: with a service that does not answer.
      poll_seconds: between two looks at a run that is waited for.
      lasting: patience with a service that does not answer such looks.

    Attributes:
      name: of the service, for people.
    """

    name: str

    def __init__(
        self,
        settings: PipelineSettings,
        patience: Patience = PATIENT,
        poll_seconds: float = 15.0,
        lasting: Patience = LASTING,
    ):
        if settings.cloud is None:
            raise InputError("cloud: the settings have no such section. It says which image runs, and where.")
        self.settings = settings
        self.cloud = settings.cloud
        self._patience = patience
        self._poll_seconds = poll_seconds
        self._lasting = lasting
        self._connect()

    @abc.abstractmethod
    def _connect(self) -> None:
        """Makes the service's own client.

        Raises:
          InputError: there are no credentials, no address or no project; or the service does not answer.
        """

    @abc.abstractmethod
    def is_transient(self, error: BaseException) -> bool:
        """Whether an error may pass by itself."""

    def words(self, error: BaseException) -> str:
        """What an error says, in a line."""
        return reason(error)

    @abc.abstractmethod
    def explained(self, error: Exception) -> InputError | None:
        """An error of the service, with what to do; None where it is nothing that a user can mend."""

    @abc.abstractmethod
    def schedules(self) -> list[ScheduleState]:
        """See `Client`."""

    @abc.abstractmethod
    def _ids(self, name: str) -> list[str]:
        """The service's own ids of the schedules of a name, oldest first."""

    @abc.abstractmethod
    def _delete(self, number: str) -> None:
        """Deletes the schedule of an id, which may be gone already."""

    def delete(self, name: str) -> None:
        """See `Client`."""
        if not self._remove(name):
            raise self.unknown(name)

    def _one(self, name: str) -> str:
        """The id of the schedule of a name."""
        found = self.call(lambda: self._ids(name))
        if not found:
            raise self.unknown(name)
        return found[0]

    def _remove(self, name: str) -> int:
        """Deletes all schedules of a name; gives how many there were."""
        found = self.call(lambda: self._ids(name))
        for number in found:
            self._delete(number)
        return len(found)

    def call(self, function: Callable[[], Result]) -> Result:
        """Calls the service, several times where it does not answer.

        Raises:
          InputError: what the service said, and what to do.
        """
        try:
            return patiently(function, self.name, self.is_transient, self.words, self._patience)
        except InputError:
            raise
        except Exception as error:
            if known := self.explained(error):
                raise known from error
            raise

    def look(self, run: Run, function: Callable[[], Result]) -> Result:
        """Asks the service for a run that is waited for.

        Raises:
          NoNewsError: it gives none. The run does not end by that.
        """
        try:
            return patiently(function, self.name, self.is_transient, self.words, self._lasting)
        except Exception as error:
            known = error if isinstance(error, InputError) else self.explained(error)
            if known is None:
                raise
            said = f"{self.name} does not answer: {self.words(error)}" if self.is_transient(error) else str(known)
            raise NoNewsError(
                f"{self.settings.name}: no news of the run, which goes on: {run.url} ({said}) See there how it ends. "
                "`albert pipeline submit --wait` waits for it before it starts another."
            ) from error

    def make_once(self, kind: str, name: str, find: Callable[[], Sequence[Made]], make: Callable[[], Made]) -> Made:
        """Makes a thing that there must be one of. Where the answer to an attempt was lost, what it made is found.

        Args:
          kind: of thing, for errors: run, schedule.
          name: of the thing.
          find: those of this name, oldest first.
          make: makes it.

        Raises:
          InputError: there is one already.
        """
        if self.call(find):
            remedy = "add --replace to put this one in its place" if kind == "schedule" else "choose another --name"
            raise InputError(f"--name {name}: {self.name} has a {kind} of this name already; {remedy}.")
        attempts = 0

        def attempt() -> Made:
            nonlocal attempts
            attempts += 1
            lost = find() if attempts > 1 else ()
            return lost[0] if lost else make()

        return self.call(attempt)

    def make_schedule(self, name: str, make: Callable[[], str], replace: bool) -> str:
        """Makes a schedule; gives its id. Those that it replaces are deleted after, so that there always is one.

        Raises:
          InputError: there is one already and it is not to be replaced, or somebody makes one at the same time.
        """
        before = self.call(lambda: self._ids(name)) if replace else []

        def find() -> list[str]:
            return [number for number in self._ids(name) if number not in before]

        made = self.make_once("schedule", name, find, make)
        # A list may lag behind, and hold none.
        if (new := self.call(find)) and new[0] != made:
            self._delete(made)
            raise InputError(f"--name {name}: another schedule of this name was made at the same time; it stays.")
        try:
            for number in before:
                self._delete(number)
        except InputError as error:
            raise InputError(
                f"--name {name}: the new schedule is there, and so is the one before it. Repeat the command: {error}"
            ) from error
        return made

    def unknown(self, name: str) -> InputError:
        """The error for a schedule that is not there."""
        names = ", ".join(schedule.name for schedule in self.schedules()) or "none"
        return InputError(f"{name}: {self.name} has no schedule of this name. It has: {names}.")

    def is_ours(self, name: str) -> bool:
        """Whether a schedule's name is of this pipeline."""
        return name == self.settings.name or name.startswith(f"{self.settings.name}-")


class TaskTeller:
    """Logs what the tasks of a run do, each change once."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}

    def tell(self, states: dict[str, str]) -> None:
        """
        Args:
          states: words for what each task does, by its name.
        """
        for task, words in states.items():
            if self._said.get(task) != words:
                self._said[task] = words
                _log.info("%s %s", task, words)


def failure(pipeline: str, state: str, failed: Sequence[str], message: str, url: str) -> InputError:
    """The error for a run that did not come to a good end.

    Args:
      failed: names of the tasks.
      message: of the service; may be empty.
      url: of the run.
    """
    where = f" in {', '.join(failed)}" if failed else ""
    what = f": {' '.join(message.split())}" if message else ""
    return InputError(f"{pipeline}: the run ended as {state}{where}{what}. Its logs: {url}")
