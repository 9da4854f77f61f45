"""Pre-trained adversarial training: start from a network that was trained adversarially on other data (Hendrycks et al. 2019)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from methods.backbones import Backbone, MultiHead, TaskNetwork
from methods.base import Context, MethodError, MethodSettings, RunSpec
from methods.strategies.one_network import OneNetwork, OneNetworkSettings
from methods.training import AdversarialTraining, Objective
from results.files import in_place_of_data
from scenarios.base import LearnTask

PRETRAINING = "joint_at"


class PretrainedSettings(OneNetworkSettings):
    """The start of the network; everything after that is Madry AT.

    Published, in the recipe: 5 epochs per task, SGD nesterov, learning rate 1e-3 under a cosine per step, weight decay 5e-4,
    batch 128.
    """

    checkpoint: str | None = Field(
        None,
        description="safetensors file with the weights of this preset's backbone, by their names in its state dict",
    )
    pretrain: dict[str, Any] | None = Field(
        None, description="scenario to train on first, all of its tasks at once: a name, or {name: ..., tasks: ...}"
    )

    @field_validator("checkpoint")
    @classmethod
    def _check_file(cls, value: str | None) -> str | None:
        if value is not None and not Path(value).is_file():
            raise ValueError("no such file; give the path of a stored checkpoint")
        return value

    @field_validator("pretrain", mode="before")
    @classmethod
    def _read_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_one_is_given(self) -> PretrainedSettings:
        if (self.checkpoint is None) == (self.pretrain is None):
            raise ValueError("give one of checkpoint=FILE and pretrain=SCENARIO (run --pretrain SCENARIO)")
        return self

    def identity(self) -> dict[str, Any]:
        """As of all settings; a checkpoint counts by its bytes, wherever it lies."""
        found = super().identity()
        if self.checkpoint is not None:
            found["checkpoint"] = hashlib.sha256(Path(self.checkpoint).read_bytes()).hexdigest()
        return found


class PretrainedAT(OneNetwork):
    """One network that starts adversarially pre-trained on other data, PGD adversarial training on every task in turn."""

    version = 1
    needs = frozenset({"extra_data"})
    paper = "Hendrycks et al. 2019, Using Pre-Training Can Improve Model Robustness and Uncertainty"
    Settings = PretrainedSettings

    @classmethod
    def objective(cls, settings: MethodSettings) -> Objective:
        return AdversarialTraining()

    @classmethod
    def requires(cls, settings: MethodSettings) -> list[RunSpec]:
        assert isinstance(settings, PretrainedSettings)
        return [] if settings.pretrain is None else [_pretraining(settings.pretrain)]

    @classmethod
    def check(cls, settings: MethodSettings, network: MultiHead) -> None:
        assert isinstance(settings, PretrainedSettings)
        if settings.checkpoint is not None:
            weights_of(settings.checkpoint, network.backbone)

    def learn(self, task: LearnTask, context: Context) -> None:
        if task.id == 0:
            self.network.backbone.load_state_dict(self._start(context))
        super().learn(task, context)

    def _start(self, context: Context) -> Mapping[str, Tensor]:
        settings = self.settings
        if settings.checkpoint is not None:
            return weights_of(settings.checkpoint, self.network.backbone)
        classifier = context.prerequisite(_pretraining(settings.pretrain)).classifier(0)
        assert isinstance(classifier, TaskNetwork)
        return classifier.backbone.state_dict()


def _pretraining(scenario: Mapping[str, Any]) -> RunSpec:
    return RunSpec(PRETRAINING, weights=True, scenario=scenario)


def weights_of(path: str, backbone: Backbone) -> dict[str, Tensor]:
    """The backbone's state from a safetensors file, on the CPU.

    Raises MethodError, one line that names file and cause, unless the file holds exactly the tensors of this backbone.
    """
    try:
        found = load_file(path)
    except (SafetensorError, OSError) as error:
        if line := in_place_of_data(Path(path)):
            raise MethodError(line) from None
        raise MethodError(f"{path}: not a safetensors file ({' '.join(str(error).split())})") from None
    expected = backbone.state_dict()
    what = f"{type(backbone).__name__} with {backbone.features} features"
    for name, tensor in expected.items():
        if name not in found:
            raise MethodError(f"{path}: holds no {name}; this preset's backbone, {what}, needs it")
        if found[name].shape != tensor.shape:
            raise MethodError(
                f"{path}: {name} is {list(found[name].shape)}, this preset's backbone, {what}, has {list(tensor.shape)}; "
                "a checkpoint of the same backbone and width is needed"
            )
    if other := sorted(found.keys() - expected.keys()):
        raise MethodError(f"{path}: holds {other[0]}, which this preset's backbone, {what}, does not have")
    return found
