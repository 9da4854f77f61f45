"""A method that trains on the test images, with the package's own parts."""

from dataclasses import replace
from typing import Literal

from pydantic import Field

from methods.base import Context, MethodSettings
from methods.strategies.network_per_task import NetworkPerTask
from methods.training import AdversarialTraining, Objective
from scenarios.base import ImageSet, LearnTask, Stream
from tests.defects.peeking import everything, only_some, peeked, together


class TrainedOnTest(NetworkPerTask):
    """strength: the share of the test images that it trains on."""

    version = 1

    class Settings(MethodSettings):
        strength: float = 1.0
        source: Literal["package", "loader", "file", "another process", "frames", "gc"] = "package"
        validation: bool = Field(False, description="it trains on the validation images too")
        reads: Literal["in learn", "in begin"] = Field(
            "in learn", description="when it reads them; in begin: through the package"
        )
        data_root: str = ""

    @classmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        return AdversarialTraining()

    def begin(self, stream: Stream, context: Context) -> None:
        super().begin(stream, context)
        self.early: dict[str, ImageSet] = {}
        if self.settings.reads == "in begin":
            self.early = everything(self.settings.data_root, stream)

    def learn(self, task: LearnTask, context: Context) -> None:
        test = self.early.get(task.name) or peeked(task, self.settings.source, self.settings.data_root)
        found = only_some(test, self.settings.strength).to(context.device)
        parts = [task.train, found, *([task.validation] if self.settings.validation else [])]
        super().learn(replace(task, train=together(*parts)), context)
