"""Images that attacks hand over: kept until classifiers that have seen nothing have judged them, then deleted.

Of every attack at the ranking's norm, up to its eps, some images of each task are kept with the answers that were recorded:
those at which the attack ended, and the worst that it met. Images that were counted right come first: there a classifier gains by
a lie.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from attacks.base import Attack
from attacks.threat_model import ThreatModel
from benchmark.evaluating.attacking import Attacked
from benchmark.planning.cells import is_handed_over
from benchmark.planning.stored_runs import HANDED_OVER
from results.files import StoreError, digest, whole_file

MOST_IMAGES = 32
"""Images of one attack on one task that are kept."""
MOST_BYTES = 128 * 1024
"""And their size: 10 images of 3x32x32. 20 tasks under 15 attacks take 40 MB until they are judged."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """Images of one attack on one task, and the answers to them that were recorded.

    attack: name of the attack.
    task: id of the task.
    evaluation: id of the evaluation.
    covers: names and ids of this evaluation and of those that are checkpoints of the same trajectory.
    clean: True if nothing was changed, as by an attack at eps 0.
    images: float32 (N, C, H, W) in [0, 1].
    samples, labels, predicted: int64 (N,).
    margin: float32 (N,).
    """

    attack: str
    task: int
    evaluation: str
    covers: tuple[tuple[str, str], ...]
    clean: bool
    images: Tensor
    samples: Tensor
    labels: Tensor
    predicted: Tensor
    margin: Tensor


class Shelf:
    """The place where a run keeps them: a folder of its own, which is gone once they are judged.

    ranking: the ball of the ranking.
    """

    def __init__(self, run: Path, ranking: ThreatModel) -> None:
        self.folder, self.ranking = run / HANDED_OVER, ranking

    def wants(self, attack: Attack) -> bool:
        """True if images of this attack are to be kept."""
        return is_handed_over(attack, self.ranking)

    def put(self, named: Mapping[Attack, tuple[str, str]], task: int, attacked: Attacked) -> None:
        """Keep some images of attacks that ran together; those of an earlier turn are overwritten.

        named: the attacks, each with its name in tables and the id of its evaluation.
        """
        left = sorted((attack for attack in named if self.wants(attack)), key=lambda attack: -attack.steps)
        while left:
            attack, *others = left
            # Checkpoints of a trajectory are handed over with its end, for they have no images of their own.
            same = [other for other in others if other.steps < attack.steps and _same(attacked, attack, other)]
            self._put(attack, [named[attack], *(named[other] for other in same)], task, attacked)
            left = [other for other in others if other not in same]

    def _put(self, attack: Attack, covers: list[tuple[str, str]], task: int, attacked: Attacked) -> None:
        (name, evaluation), outcomes = covers[0], attacked.outcomes[attack]
        assert outcomes.worst is not None, "the images were not asked for"
        assert outcomes.last is not None
        most = max(4, min(MOST_IMAGES, MOST_BYTES // (outcomes.worst[0].numel() * 4)))
        # Another draw for every evaluation, so that attacks together show many samples.
        draw = torch.randperm(len(attacked.samples), generator=torch.Generator().manual_seed(int(evaluation[:12], 16)))
        ended = [(outcomes.last, outcomes.final)]
        if attack.iterative:
            ended.append((outcomes.worst, outcomes.any))
        parts: dict[str, list[Tensor]] = {key: [] for key in ("images", "samples", "labels", "predicted", "margin")}
        for images, outcome in ended:
            right = (outcome.predicted == attacked.labels)[draw]
            chosen = torch.cat([draw[right], draw[~right]])[: most // len(ended)]
            found = (images.float(), attacked.samples, attacked.labels, outcome.predicted, outcome.margin.float())
            for key, tensor in zip(parts, found, strict=True):
                parts[key].append(tensor[chosen])
        clean = attack.threat_model.eps == 0
        notes = {"attack": name, "task": str(task), "evaluation": evaluation, "clean": str(int(clean))}
        notes["covers"] = json.dumps(covers)
        first = int(attacked.samples.min())
        with whole_file(self.folder / f"{digest([name, task, first])[:20]}.safetensors") as temporary:
            temporary.write_bytes(save({key: torch.cat(tensors).contiguous() for key, tensors in parts.items()}, notes))

    def __bool__(self) -> bool:
        return self.folder.is_dir() and any(self.folder.glob("*.safetensors"))

    def taken(self, evaluations: Iterable[str]) -> list[HandedOver]:
        """The images that were kept of these evaluations, by their ids. A file that is not whole counts as missing."""
        wanted, found = set(evaluations), []
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                one = _read(path)
            except StoreError:
                continue
            found += [one] if one.evaluation in wanted else []
        return found

    def shown(self, evaluations: Iterable[str]) -> set[tuple[int, str]]:
        """The task and the name of each attack whose images are kept here. evaluations: as in `taken`."""
        ids = set(evaluations)
        return {(one.task, name) for one in self.taken(ids) for name, evaluation in one.covers if evaluation in ids}

    def clear(self) -> None:
        """Delete everything that was kept."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _same(attacked: Attacked, one: Attack, other: Attack) -> bool:
    """True if two attacks handed over the same images."""
    first, second = attacked.outcomes[one], attacked.outcomes[other]
    pairs = ((first.last, second.last), (first.worst, second.worst))
    return all(a is not None and b is not None and torch.equal(a, b) for a, b in pairs)


def _read(path: Path) -> HandedOver:
    try:
        with safe_open(path, framework="pt") as file:
            notes = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        covers = tuple((str(name), str(evaluation)) for name, evaluation in json.loads(notes["covers"]))
        clean = notes["clean"] == "1"
        return HandedOver(notes["attack"], int(notes["task"]), notes["evaluation"], covers, clean, **tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{path}: not readable as images that were handed over ({error})") from error
