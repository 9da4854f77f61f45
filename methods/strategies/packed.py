"""Tasks packed into one network: every task is a sub-network of one set of owned weights, and is made from it anew."""

from __future__ import annotations

import copy
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from methods.backbones import MultiHead, TaskNetwork
from methods.base import Context, MethodError, State
from methods.parts.packing.ownership import BASE, MOST_TASKS, PackedWeights, TaskPart, owner_of, top_left
from methods.parts.packing.subnetwork import OF_TRAINING, Subnetwork
from methods.strategies.trained import TrainedMethod
from methods.training import Fit, Recipe, SecondOptimizer, Selected, Step, Validation
from scenarios.base import LearnTask, Stream

BACKBONE = "backbone."


def stage_recipe(
    recipe: Recipe,
    *,
    epochs: int,
    rate: float,
    milestones: Sequence[float] = (),
    keep: str | None = None,
    every: int | None = None,
) -> Recipe:
    """The recipe of a stage after the first training.

    recipe: the preset's.
    epochs: of the stage.
    rate: learning rate, in units of the recipe's.
    milestones: shares of the stage's epochs after which the rate is cut; constant without any.
    keep: "best" or "last", the epoch whose network is kept; None: as in the recipe.
    every: epochs between validations; None: as in the recipe.
    """
    selection = {key: value for key, value in (("keep", keep), ("every", every)) if value is not None}
    changes = {
        "epochs": epochs,
        "learning_rate": recipe.learning_rate * rate,
        "schedule": "step",
        "milestones": tuple(milestones),
        "selection": {**recipe.selection.model_dump(), **selection},
    }
    return Recipe.model_validate({**recipe.model_dump(), **changes})


class PackedMethod(TrainedMethod):
    """One set of shared weights with an owner each; a task's classifier is made from them whenever it is asked for.

    A change to what this file or `methods/parts/packing` computes raises the version of each method on top.
    """

    claims = frozenset({"unforgetting"})

    packed: PackedWeights
    last_task: int
    _new: Callable[[int, float], MultiHead]
    _skeletons: dict[float, MultiHead]

    def begin(self, stream: Stream, context: Context) -> None:
        tasks = len(stream.class_counts)
        if tasks > MOST_TASKS:
            raise MethodError(
                f"the owner map counts up to {MOST_TASKS} tasks, this stream has {tasks}; use fewer tasks"
            )
        # Stages of a task begin with the same network, and drawing its weights takes longer than copying them.
        drawn = lru_cache(maxsize=1)(lambda task, mu: context.network(stream, task=task, mu=mu))
        self._new = lambda task, mu: copy.deepcopy(drawn(task, mu))
        self._skeletons = {}
        self.last_task = tasks - 1
        self.packed = PackedWeights.fresh(_shared(self._new(0, 1.0)))

    @abstractmethod
    def learn(self, task: LearnTask, context: Context) -> None: ...

    def begin_task(self, task: int) -> None:
        """Start from a random network that nobody owns anything of, if the published gate threw the last task's weights away."""
        if self.packed.lost:
            # As wide as it is: earlier tasks' classifiers are of the widths they were learned at.
            fresh = PackedWeights.fresh(_shared(self._new(task, self.packed.mu)), self.packed.mu)
            fresh.parts, fresh.since = self.packed.parts, task
            self.packed = fresh

    # -- the network of a task --------------------------------------------------------------------------------------------

    def subnetwork(self, task: int, recipe: Recipe, *, batch_norm: bool = True, biases: bool = True) -> Subnetwork:
        """The task's network, ready for a stage of training.

        Batch norm, biases and head are the task's own. Before it has any, batch norm and biases are the previous task's, and new
        channels and the head start fresh.

        batch_norm, biases: False: they stay as they are.
        """
        network = self._new(task, self.packed.mu).for_task(task)
        parts = self.packed.parts
        self._fill(network, task, parts[task].tensors if task in parts else self.start_of(task))
        return Subnetwork(
            network, self.packed, task, weight_decay=recipe.weight_decay, batch_norm=batch_norm, biases=biases
        )

    def start_of(self, task: int) -> Mapping[str, Tensor]:
        """Batch norm and biases from which a new task starts, by state-dict name; empty: as a new network has them."""
        return self._of_backbone(task - 1) if task > self.packed.since else {}

    def _of_backbone(self, task: int) -> Mapping[str, Tensor]:
        """The part of a learned task without its head."""
        return {n: t for n, t in self.packed.parts[task].tensors.items() if n.startswith(BACKBONE)}

    @torch.no_grad()
    def _fill(self, network: TaskNetwork, task: int, tensors: Mapping[str, Tensor]) -> None:
        state = network.state_dict()
        for name, tensor in tensors.items():
            state[name][top_left(tensor.shape)].copy_(tensor)
        for name, weight in network.backbone.shared_weights():
            weight.copy_(self.packed.effective(name, task, weight.shape))

    def keep(self, network: Subnetwork, task: int) -> None:
        """Store the task's network as a stage of training left it: its own weights, and its own part."""
        self.packed.store(task, network.shared, network.own)
        shared = {BACKBONE + name for name in network.shared} | {"mean", "std"}
        own = {
            name: tensor.detach().clone()
            for name, tensor in network.state_dict().items()
            if name not in shared and not name.startswith(OF_TRAINING)
        }
        before = self.packed.parts.get(task)
        picks = network.picks() if network.is_picking else before.picks if before else None
        self.packed.parts[task] = TaskPart(self.packed.mu, own, picks)

    def learn_part(
        self,
        network: Subnetwork,
        task: LearnTask,
        context: Context,
        *,
        phase: str,
        recipe: Recipe,
        second: SecondOptimizer | None = None,
        patience: int | None = None,
        after_step: Callable[[Step], None] | None = None,
    ) -> Selected:
        """Train a stage in which only the task's own weights move, and keep the outcome.

        phase: the name under which the stage is logged.
        recipe: of the stage.
        second, patience, after_step: as of `Fit`; `after_step` is the sub-network's own if not given.
        """
        fit = Fit(
            network=network,
            parameters=network.trained(),
            validate=lambda: context.validate(network.plain, task),
            objective=self.objective(self.settings),
            after_backward=network.mask_gradients,
            after_step=after_step or network.after_step,
            second=second,
            patience=patience,
        )
        # Weight decay is part of the masked gradient: an optimiser's own would move the weights of other tasks.
        selected = context.train(fit, [task], phase=phase, recipe=recipe.model_copy(update={"weight_decay": 0.0}))
        self.keep(network, task.id)
        return selected

    # -- what the harness asks for ----------------------------------------------------------------------------------------

    def classifier(self, task: int | None) -> nn.Module:
        assert task is not None
        part = self.packed.parts[task]
        network = self._skeleton(part.mu).for_task(task).materialise()
        self._fill(network, task, part.tensors)
        return network

    def _skeleton(self, mu: float) -> MultiHead:
        if mu not in self._skeletons:
            self._skeletons[mu] = self._new(0, mu)
        return self._skeletons[mu]

    @property
    def has_base(self) -> bool:
        """True if weights from before the first task belong to nobody, for good."""
        return False

    @property
    def last_owner(self) -> int:
        """The last task that can own weights."""
        return self.last_task

    @property
    def _stored_base(self) -> int:
        """The number that stands for the base where owners are stored: the least that no task has."""
        return owner_of(self.last_owner) + 1

    @property
    def _owner_bits(self) -> int:
        return (self._stored_base if self.has_base else owner_of(self.last_owner)).bit_length()

    def state(self) -> State:
        packed = self.packed
        tensors = {f"weight.{name}": tensor for name, tensor in packed.weights.items()}
        # One tensor for each bit: a weight costs as many bits, stored and counted, as it takes to tell the tasks apart.
        stored = {name: owners.masked_fill(owners == BASE, self._stored_base) for name, owners in packed.owners.items()}
        for bit in range(self._owner_bits):
            tensors |= {f"owner.{bit}.{name}": (owners >> bit) % 2 == 1 for name, owners in stored.items()}
        for task, part in packed.parts.items():
            tensors |= {f"task.{task}.{name}": tensor for name, tensor in part.tensors.items()}
            tensors |= {f"picks.{task}.{name}": tensor for name, tensor in (part.picks or {}).items()}
        parts = {str(task): {"mu": part.mu, "picks": part.picks is not None} for task, part in packed.parts.items()}
        return State(tensors, {"mu": packed.mu, "since": packed.since, "lost": packed.lost, "parts": parts})

    def load_state(self, state: State) -> None:
        values: dict[str, Any] = state.values
        skeleton = _shared(self._skeleton(values["mu"]))
        weights = state.under("weight.")
        for name, expected in skeleton.items():
            found = weights.get(name)
            if found is None or found.shape != expected.shape:
                raise MethodError(
                    f"the state holds {name} as {'nothing' if found is None else list(found.shape)}, this backbone at mu "
                    f"{values['mu']:g} has {list(expected.shape)}: load it into the backbone and width it was learned with"
                )
        # In the memory format of the network, as they were when they were learned.
        packed = PackedWeights.fresh(skeleton, values["mu"])
        for name in skeleton:
            packed.weights[name].copy_(weights[name])
            for bit in range(self._owner_bits):
                packed.owners[name] += state.tensors[f"owner.{bit}.{name}"].to(torch.uint8) << bit
            packed.owners[name].masked_fill_(packed.owners[name] == self._stored_base, BASE)
        packed.since, packed.lost = values["since"], values["lost"]
        for key, part in values["parts"].items():
            picks = state.under(f"picks.{key}.") if part["picks"] else None
            packed.parts[int(key)] = TaskPart(part["mu"], state.under(f"task.{key}."), picks)
        self.packed = packed

    # -- what is reported -------------------------------------------------------------------------------------------------

    def record_reached(self, stage: str, selected: Selected, context: Context) -> float:
        """Record and return the validation accuracy that the method decides by, as a stage of training left it."""
        reached = self.score(selected.validation)
        context.facts.record(f"reached_{stage}", reached)
        return reached

    def record_selected(self, context: Context, validation: Validation) -> None:
        """Record what the classifier that is handed back reached, where the last training that ran is not the one kept."""
        context.facts.record("selected_clean", validation.clean)
        context.facts.record("selected_robust", validation.robust)

    def record_capacity(self, task: int, context: Context) -> None:
        """Record who owns what, per layer and in all: free, own and picked shares; the width multiplier; exhaustion in words."""
        packed, record = self.packed, context.facts.record
        totals = [0] * (task + 2)
        for layer, counts in packed.counts().items():
            for owner, count in enumerate(counts[: task + 2]):
                record("weights_free" if owner == 0 else f"weights_of_task_{owner - 1}", count, text=layer)
                totals[owner] += count
        base = packed.of_base()
        if any(base.values()):
            for layer, count in base.items():
                record("weights_of_base", count, text=layer)
        everything = sum(totals) + sum(base.values())
        record("mu", packed.mu)
        record("shared_weights", everything)
        record("free_share", totals[0] / everything)
        record("owned_share", totals[task + 1] / everything)
        self.record_picks(task, context)
        if totals[task + 1] == 0:
            record(
                "exhausted", 1, text="no free weight was left: learned from frozen weights, batch norm, biases and head"
            )

    def record_picks(self, task: int, context: Context) -> None:
        """Record the share of earlier tasks' weights that a task picked, per layer and in all; nothing if it has no picks."""
        picks, record = self.packed.parts[task].picks, context.facts.record
        if picks is None:
            return
        picked = earlier = 0
        for name, mask in picks.items():
            of_layer = int(self.packed.earlier(name, task)[top_left(mask.shape)].sum())
            picked, earlier = picked + int(mask.sum()), earlier + of_layer
            record("picked_share", int(mask.sum()) / of_layer if of_layer else None, text=name)
        record("picked_share", picked / earlier if earlier else None)

    def record_structure(self, task: int, moment: str, context: Context) -> None:
        """Record the owner map of the smallest layer, and the weights of it that this task uses, for the structure figure."""
        packed = self.packed
        name = min(packed.owners, key=lambda layer: packed.owners[layer].numel())
        owners, part = packed.owners[name], packed.parts.get(task)
        used = packed.earlier(name, task) | packed.owned(name, task)
        if part is not None and part.picks is not None:
            used = part.picks[name] | packed.owned(name, task)
        picture = {
            "layer": name,
            "rows": owners.shape[0],
            "owners": bytes(owners.flatten().tolist()).hex(),
            "used": "".join("01"[value] for value in used.flatten().int().tolist()),
        }
        context.facts.record(f"structure {moment}", packed.mu, text=json.dumps(picture))


def _shared(network: MultiHead) -> dict[str, Tensor]:
    return dict(network.backbone.shared_weights())
