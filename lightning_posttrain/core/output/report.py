"""One report: drawn and written in the background, where what cannot be is said and costs nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch

from lightning_posttrain.core.output.artifacts import Artifact, Cleared, File, Image, Picture, Table, Tagged
from lightning_posttrain.core.output.background import Remark
from lightning_posttrain.core.output.outlet import Outlet
from lightning_posttrain.core.output.result import listed
from lightning_posttrain.core.output.sinks.base import Sink
from lightning_posttrain.core.output.sinks.encode import encoded
from lightning_posttrain.core.output.sinks.stores import NotOurs
from lightning_posttrain.core.output.space import check_space, is_full

NO_ROOM = "Nothing more is drawn or written in this run: make room on the disk."
_CELL = 16
"""Bytes of a table's cell, about."""


@dataclass(frozen=True)
class Voice:
    """How a report speaks in the main thread.

    Args:
        failed: what could not be done, the cure, and the error.
        warn: a text, and what it counts as where it is said once.
        inform: a text.
    """

    failed: Callable[[str, str, Exception], None]
    warn: Callable[[str, str], None]
    inform: Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Report:
    """What is done in the background for one result, all taken from the trainer before.

    Args:
        tag: its own.
        artifacts: drawn as they are asked for.
        tag_of: from the name of an artifact to its tag.
        step: of the trainer.
        outlet: the run's.
        loggers: sinks beside the folder.
        shown: whether loggers get it at once; else they get it at the end, if it is the last.
        voice: says what is to be said.
        given_up: whether nobody waits for it any more.
    """

    tag: str
    artifacts: Iterable[Tagged]
    tag_of: Callable[[str], str]
    step: int
    outlet: Outlet
    loggers: Sequence[Sink]
    shown: bool
    voice: Voice
    given_up: Callable[[], bool]

    def do(self) -> list[Remark]:
        """Draw and write, and give what is to be said."""
        remarks: list[Remark] = []
        if self._stopped():
            return remarks
        with torch.no_grad():  # what a result works out when first asked for stays in it
            ready = self._drawn(remarks)
            self._write(self.outlet.files, ready, remarks)
            remarks += self._of_the_folder()
            for sink in self.loggers if self.shown else ():
                self._write(sink, ready, remarks)
            self._hold(ready)
        return remarks

    def rest(self) -> list[Remark]:
        """Write to the loggers what was held back."""
        remarks: list[Remark] = []
        ready = list(self.artifacts)
        for sink in self.loggers:
            self._write(sink, ready, remarks)
        return remarks

    def _drawn(self, remarks: list[Remark]) -> list[Tagged]:
        ready: list[Tagged] = []
        with self._noted(remarks, "draw", "What was drawn before is kept."):
            for tagged in self.artifacts:
                ready.append(tagged)
                if self._stopped():
                    break
        return ready

    def _write(self, sink: Sink, ready: Sequence[Tagged], remarks: list[Remark]) -> None:
        theirs: list[NotOurs] = []
        with self._noted(remarks, f"write to {sink}", "Check that it can be written to."):
            if not self._stopped():
                check_space([sink.disk], sum(size_of(tagged.artifact) for tagged in ready))
            for tagged in ready:
                if self._stopped():
                    return
                try:
                    sink.write(self.tag_of(tagged.tag), tagged.artifact, self.step)
                except NotOurs as error:
                    theirs.append(error)
        remarks += self._left(theirs)

    def _stopped(self) -> bool:
        return self.outlet.full or self.given_up()

    def _hold(self, ready: Sequence[Tagged]) -> None:
        """Keep for the loggers, as encoded bytes, what they may get at the end; what they got, or is gone, is not."""
        if self._stopped():
            return
        held = self.outlet.held
        for tagged in ready:
            tag = self.tag_of(tagged.tag)
            if isinstance(tagged.artifact, Cleared):
                for key in [key for key in held if key == tag or key.startswith(f"{tag}/")]:
                    del held[key]
            elif _for_loggers(tagged.artifact):  # others may have the same tag
                held.pop(tag, None)
                if self.loggers and not self.shown:
                    held[tag] = replace(self, artifacts=[Tagged(tagged.tag, _small(tagged.artifact))]).rest

    def _left(self, theirs: Sequence[NotOurs]) -> Iterator[Remark]:
        """What is to be said of files and links that are not ours."""
        for place in {error.place for error in theirs if error.link}:
            text = (
                f"{place} is a link, which lightning_posttrain does not follow: nothing is written there. Remove the "
                "link for the run's files to be written."
            )
            yield partial(self.voice.warn, text, text)
        files = [error.place for error in theirs if not error.link]
        if files and self.outlet.files.unrecorded:
            text = (
                f"{self.outlet.files} held files and no record of those that lightning_posttrain wrote, as earlier "
                f"versions kept none, so that {files[0]} and others stay as they are. Move them away for the "
                "run's to be written."
            )
            yield partial(self.voice.warn, text, f"{self.outlet.files} unrecorded")
        elif files:
            text = (
                f"{listed(files, 3)}: not written by lightning_posttrain, or changed since, so kept as it is. Move it "
                "away for the run's to be written."
            )
            yield partial(self.voice.warn, text, f"{self.tag} not ours")

    def _of_the_folder(self) -> Iterator[Remark]:
        for notice in self.outlet.files.notices():
            if notice.loud:
                yield partial(self.voice.warn, notice.text, notice.text)
            else:
                yield partial(self.voice.inform, notice.text)

    @contextlib.contextmanager
    def _noted(self, remarks: list[Remark], what: str, cure: str) -> Iterator[None]:
        """An error inside is said; but for an interrupt, which is not of what is written."""
        try:
            yield
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:
            said = error if isinstance(error, Exception) else RuntimeError(f"{type(error).__name__}: {error}")
            if is_full(error):
                self.outlet.full, cure = True, NO_ROOM
            remarks.append(partial(self.voice.failed, what, cure, said))


def size_of(artifact: Artifact) -> int:
    """Bytes of a file with it, about."""
    if isinstance(artifact, Image):
        artifact = encoded(artifact)
    if isinstance(artifact, (Picture, File)):
        return len(artifact.content)
    return _CELL * len(artifact.rows) * len(artifact.columns) if isinstance(artifact, Table) else 0


def _for_loggers(artifact: Artifact) -> bool:
    return not isinstance(artifact, File) and not getattr(artifact, "files_only", False)


def _small(artifact: Artifact) -> Artifact:
    return encoded(artifact) if isinstance(artifact, Image) else artifact
