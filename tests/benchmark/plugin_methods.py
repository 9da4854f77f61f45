"""Source of method files that the tests write to disk: third parties' methods, and ways for a method to go wrong."""

from __future__ import annotations

from pathlib import Path

HEAD = """
import torch
from methods.base import RunSpec, State
from methods.madry_at import MadryAT

class Mine(MadryAT):
    "A method of a third party."
    version = 1
"""

RAISES = (
    HEAD
    + """
    def learn(self, task, context):
        if task.id == 1:
            raise RuntimeError("planted\\nfailure")
        super().learn(task, context)
"""
)

DIVERGES = (
    HEAD
    + """
    def learn(self, task, context):
        import torch
        with torch.no_grad():
            for parameter in self.network.parameters():
                parameter.fill_(float("nan"))
        super().learn(task, context)
"""
)

BAD_CLASSIFIER = (
    HEAD
    + """
    def classifier(self, task):
        return super().classifier(task).train()
"""
)

NEEDS_GOALS = (
    HEAD
    + """
    protocols = frozenset({"task"})

    @classmethod
    def requires(cls, settings):
        return [RunSpec("single_task_at", {}, weights=True)]

    def learn(self, task, context):
        needed = context.prerequisite(RunSpec("single_task_at", {}, weights=True))
        context.facts.record("goal", needed.fact("validation_robust", task.id))
        context.facts.record("reached", context.validate(needed.classifier(task.id), task).robust)
        super().learn(task, context)
"""
)

STAGES = (
    HEAD
    + """
    def learn(self, task, context):
        from pathlib import Path
        log = Path({log!r})

        def first():
            with log.open("a") as file:
                file.write(f"first {{task.id}}\\n")
            super(Mine, self).learn(task, context)
            return {{"seen": task.id}}

        def second():
            with log.open("a") as file:
                file.write(f"second {{task.id}}\\n")
            if task.id == 1 and Path({stop!r}).exists():
                raise KeyboardInterrupt
            super(Mine, self).learn(task, context)

        assert context.stage("first", first) == {{"seen": task.id}}
        context.stage("second", second)
"""
)


EXITS = (
    HEAD
    + """
    def learn(self, task, context):
        raise SystemExit(5)
"""
)

KILLS_ITSELF = (
    HEAD
    + """
    def learn(self, task, context):
        import os
        os.kill(os.getpid(), 9)
"""
)

FORGETS_OUTSIDE_ITS_TENSORS = (
    HEAD
    + """
    claims = frozenset({"unforgetting"})

    def classifier(self, task):
        classifier = super().classifier(task)
        classifier.register_buffer("sign", torch.tensor(1.0 if self.last == task else -1.0), persistent=False)
        classifier.register_forward_hook(lambda module, inputs, output: output * module.sign)
        return classifier

    def learn(self, task, context):
        self.last = task.id
        if task.id == 0:
            super().learn(task, context)

    def state(self):
        state = super().state()
        return State(state.tensors, {**state.values, "last": self.last})

    def load_state(self, state):
        super().load_state(state)
        self.last = state.values["last"]
"""
)

KEEPS_NO_STATE = (
    HEAD
    + """
    def learn(self, task, context):
        super().learn(task, context)
        self.last = task.id

    def classifier(self, task):
        assert self.last >= task
        return super().classifier(task)
"""
)

HANDS_OUT_COPIES = (
    HEAD
    + """
    claims = frozenset({"unforgetting"})

    def begin(self, stream, context):
        super().begin(stream, context)
        self.copies = {}

    def classifier(self, task):
        if task not in self.copies:
            self.copies[task] = super().classifier(task)
        return self.copies[task]
"""
)


def write(folder: Path, source: str, name: str = "mine") -> str:
    path = folder / f"{name}.py"
    path.write_text(source)
    return str(path)
