"""The comparisons: a method of ours with its settings, and references with the same ones.

Settings differ in how they are written: a penalty without our ½ has half the strength, and A-GEM's references keep a number of
images of each task where ours has one memory. Methods whose effect batch norm's running statistics drown run without batch norm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scenarios.base import StreamProtocol
from tests.references import avalanche_side, mammoth_side, official, ours
from tests.references.stream import Matrix, Training

Side = Callable[[Path, int], Matrix]
"""(empty folder, seed) → the accuracies of one run."""


@dataclass(frozen=True)
class Folders:
    """Folders of the references; None for those that are left out.

    avalanche: a folder of packages with avalanche-lib in it, and what Mammoth imports (kornia, timm).
    mammoth, gpm, wsn, piggyback: checkouts.
    """

    avalanche: Path | None = None
    mammoth: Path | None = None
    gpm: Path | None = None
    wsn: Path | None = None
    piggyback: Path | None = None


@dataclass(frozen=True)
class Case:
    """A line of the table for each reference.

    name: of the method, and what is special about this case.
    said: the settings, in words.
    ours: our side.
    references: name → side.
    """

    name: str
    protocol: StreamProtocol
    said: str
    ours: Side
    references: Mapping[str, Side] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return f"{self.name}, {self.protocol}"


CAPACITY = 50
LARGE = 200
OF_A_TASK = 48
LATE = "Mammoth, memory filled after a task"
SGD = Training()
ADAM = Training(optimizer="adam", learning_rate=3e-3)


def _mine(
    protocol: StreamProtocol,
    method: str,
    training: Training = SGD,
    plain: bool = False,
    at_once: bool = False,
    **settings: Any,
) -> Side:
    given = settings if method == "standard" else {"training": "clean", **settings}

    def run(folder: Path, seed: int) -> Matrix:
        return ours.learn(folder, protocol, seed, method, given, training, plain=plain, at_once=at_once)

    return run


def cases(folders: Folders) -> list[Case]:
    """All comparisons, with the references that there are."""
    return [case for case in _all(folders) if case.references or not any(vars(folders).values())]


def _all(folders: Folders) -> list[Case]:
    both: tuple[StreamProtocol, ...] = ("task", "class")

    def avalanche(
        protocol: StreamProtocol, build: avalanche_side.Build, name: str = "Avalanche", plain: bool = False
    ) -> dict[str, Side]:
        if folders.avalanche is None:
            return {}
        return {name: lambda folder, seed: avalanche_side.learn(folder, protocol, seed, build, SGD, plain=plain)}

    def mammoth(
        protocol: StreamProtocol, model: str, settings: dict[str, Any], name: str = "Mammoth", **options: Any
    ) -> dict[str, Side]:
        if folders.mammoth is None:
            return {}
        return {
            name: lambda folder, seed: mammoth_side.learn(
                folder, protocol, seed, model, settings, training=SGD, **options
            )
        }

    def authors(checkout: Path | None, run: Callable[..., Matrix], *options: Any) -> dict[str, Side]:
        if checkout is None:
            return {}
        return {"released code": lambda folder, seed: run(folder, checkout, seed, *options)}

    found = []
    for p in both:
        found += [
            Case(
                "standard",
                p,
                "fine-tuning",
                _mine(p, "standard"),
                avalanche(p, avalanche_side.naive()) | mammoth(p, "sgd.Sgd", {}),
            ),
            Case(
                "er",
                p,
                f"memory {CAPACITY}, 16 beside 16",
                _mine(p, "er", capacity=CAPACITY),
                avalanche(p, avalanche_side.replay(CAPACITY))
                | mammoth(p, "er.Er", {"buffer_size": CAPACITY})
                | (mammoth(p, "er.Er", {"buffer_size": CAPACITY}, LATE, late=True) if p == "class" else {}),
            ),
            Case(
                "derpp",
                p,
                f"memory {CAPACITY}, alpha 0.1, beta 0.5",
                _mine(p, "derpp", capacity=CAPACITY, alpha=0.1, beta=0.5),
                mammoth(p, "derpp.Derpp", {"buffer_size": CAPACITY, "alpha": 0.1, "beta": 0.5}, answers="all")
                | (avalanche(p, avalanche_side.derpp(CAPACITY, 0.1, 0.5, balanced=True)) if p == "class" else {}),
            ),
        ]
    found.append(
        Case(
            "derpp, all heads from the start",
            "class",
            f"memory {CAPACITY}, alpha 0.1, beta 0.5, draws 1",
            _mine("class", "derpp", at_once=True, capacity=CAPACITY, alpha=0.1, beta=0.5, draws=1),
            avalanche("class", avalanche_side.derpp(CAPACITY, 0.1, 0.5, balanced=False), "Avalanche, with a reservoir"),
        )
    )
    found.append(
        Case(
            "icarl",
            "class",
            f"{CAPACITY} exemplars, nearest mean",
            _mine("class", "icarl", capacity=CAPACITY),
            avalanche(
                "class", avalanche_side.icarl(CAPACITY, mirrored=False), "Avalanche, means without mirrored images"
            )
            | avalanche("class", avalanche_side.icarl(CAPACITY, mirrored=True)),
        )
    )
    exact = {"fisher_labels": "true", "fisher_images": None, "fisher_of": "clean"}
    for p in both:
        found += [
            Case(
                "standard, plain network",
                p,
                "fine-tuning",
                _mine(p, "standard", plain=True),
                avalanche(p, avalanche_side.naive(), plain=True),
            ),
            Case(
                "agem",
                p,
                f"memory {LARGE} (references: {OF_A_TASK} of each task), 16 drawn",
                _mine(p, "agem", plain=True, capacity=LARGE),
                avalanche(p, avalanche_side.agem(OF_A_TASK, 16), plain=True)
                | mammoth(p, "agem.AGem", {"buffer_size": 5 * OF_A_TASK}, in_memory=OF_A_TASK, plain=True),
            ),
            Case(
                "lwf",
                p,
                "lambda_o 1, T 2",
                _mine(p, "lwf", plain=True),
                avalanche(p, avalanche_side.lwf(1.0, 2.0), plain=True),
            ),
            Case(
                "ewc",
                p,
                "½ lambda 30, gamma 1, empirical Fisher information of all images",
                _mine(p, "ewc", plain=True, strength=60.0, **exact),
                avalanche(p, avalanche_side.ewc(30.0, 1.0), "Avalanche, batches of one image", plain=True)
                | (avalanche(p, avalanche_side.ewc(30.0, 1.0, None), plain=True) if p == "task" else {}),
            ),
        ]
    found += [
        Case(
            "si",
            "task",
            "c 3, xi 0.1",
            _mine("task", "si", plain=True, strength=3.0, damping=0.1),
            # Not Avalanche 0.6.0: on a CPU what it notes of weights are views of them, and its penalty is 0.
            mammoth("task", "si.SI", {"c": 3.0, "xi": 0.1}, answers="current", plain=True),
        ),
        Case(
            "gpm",
            "task",
            "threshold .97 + .003 t, 125 images",
            _mine("task", "gpm", plain=True, represent="clean"),
            authors(folders.gpm, official.gpm, SGD),
        ),
        Case(
            "wsn",
            "task",
            "c 0.3, Adam 0.003 for weights and scores",
            _mine("task", "wsn", ADAM, True, capacity=0.3, score_rate=3e-3),
            authors(folders.wsn, official.wsn, ADAM, 0.3),
        ),
        Case(
            "piggyback",
            "task",
            "masks by Adam at 0.001 over the first task's network",
            _mine("task", "piggyback", plain=True, mask_rate=1e-3),
            authors(folders.piggyback, official.piggyback, SGD, 1e-3),
        ),
    ]
    return found
