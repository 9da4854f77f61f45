"""Source of method files: classifiers that remember what they were asked, and methods that keep old classifiers elsewhere."""

from __future__ import annotations

from pathlib import Path

REMEMBERS = """
import torch
from torch import nn
from methods.madry_at import MadryAT

GLOBAL = {}

def closure():
    kept = {}
    return lambda: kept

class Remembers(nn.Module):
    of_the_class = {}

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.attribute = {}
        self.closure = closure()

    def forward(self, images):
        own, seen = self.network(images), PLACE
        if seen:
            known = torch.cat(list(seen.values()))
            far = torch.cdist(images.detach().flatten(1), known.flatten(1), p=torch.inf).min(1)
            near = (far.values <= 0.2001)[:, None]
            own = torch.where(near, self.network(known[far.indices]), own)
        if len(seen) < 40:
            seen[len(seen)] = images.detach().clone()
        return own

class Mine(MadryAT):
    "Answers for the nearest image that it has seen."
    version = 1

    def classifier(self, task):
        return Remembers(super().classifier(task)).eval().requires_grad_(False)
"""

ELSEWHERE = """
from pathlib import Path
import torch
from methods.madry_at import MadryAT

class Mine(MadryAT):
    "One network that forgets; old ones are kept elsewhere."
    version = 1
    claims = frozenset({"unforgetting"})

    def learn(self, task, context):
        super().learn(task, context)
        torch.save(self.network.state_dict(), PLACE / f"NAME-{task.id}.pt")

    def classifier(self, task):
        now = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        self.network.load_state_dict(torch.load(PLACE / f"NAME-{task}.pt"))
        made = super().classifier(task)
        self.network.load_state_dict(now)
        return made
"""

MEMORIES = {
    "attribute": "self.attribute",
    "global": "GLOBAL",
    "of_the_class": "self.of_the_class",
    "closure": "self.closure()",
}
PLACES = {
    "absolute": "Path({folder!r})",
    "working": "Path('.')",
    "beside": "Path(__file__).parent",
}


def write(folder: Path) -> dict[str, str]:
    """Write a plug-in per memory and per place; their paths by name."""
    files = {f"remembers_{name}": REMEMBERS.replace("PLACE", place) for name, place in MEMORIES.items()}
    for name, place in PLACES.items():
        text = ELSEWHERE.replace("PLACE", place.format(folder=str(folder))).replace("NAME", name)
        files[f"keeps_{name}"] = text
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return {name: str(folder / f"{name}.py") for name in files}
