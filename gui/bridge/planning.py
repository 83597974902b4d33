"""What happens between Start and the first attack: seconds in which nothing runs yet."""

from __future__ import annotations

from engine import events


class Planning:
    """From a study's submission to the first event of a run.

    Attributes:
        starting: the engine was started and has not said that it is ready.
        studies: names of submitted studies that the engine has not answered yet.
        prepared: runs that were queued and of which none has begun.
    """

    def __init__(self) -> None:
        self.starting = False
        self.studies: list[str] = []
        self.prepared = 0
        self._paused = True
        self._deaths = 0

    def submitted(self, name: str) -> None:
        """A study was given to the engine."""
        self.studies.append(name)
        self._deaths = 0

    def note(self, event: events.Event) -> bool:
        """Take an event of the engine into account; whether the words changed."""
        before = self.words()
        match event:
            case events.WorkerReady():
                self.starting = False
            case events.WorkerDied():
                self._died()
            case events.StudyQueued():
                self._answered(event.name)
                self.prepared = len(event.run_ids) - event.reused
            case events.StudyRefused():
                self._answered(event.name)
            case events.QueueChanged():
                self._paused = event.paused
            case events.RunEvent() | events.StudyStage():
                self.prepared = 0
        return self.words() != before

    def _died(self) -> None:
        # The next process is told again what this one did not answer, but not a third time.
        self.starting, self.prepared = True, 0
        self._deaths += 1
        if self._deaths > 1:
            self.studies = []

    def _answered(self, name: str) -> None:
        if name in self.studies:
            self.studies.remove(name)

    def words(self) -> str:
        """What is being done, as a sentence without a stop; empty if nothing is planned."""
        if self.studies:
            name = self.studies[0]
            if self.starting:
                return f"starting the engine, which then plans “{name}”"
            return f"planning “{name}”: reading the images and looking up what is stored"
        if self.prepared and not self._paused:
            runs = f"{self.prepared} run{'' if self.prepared == 1 else 's'}"
            return f"{runs} queued: preparing the first one"
        return ""
