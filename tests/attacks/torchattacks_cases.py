"""Attacks of torchattacks with few steps, and a classifier on which they run."""

import inspect
import random
from fractions import Fraction

import numpy as np
import pytest
import torch
import torchattacks

from attacks.parts.foreign.algorithms import L2_ONLY
from attacks.parts.guard import random_state_kept, seed_of
from attacks.threat_model import ThreatModel
from attacks.torchattacks import Torchattacks
from tests.attacks.attack_cases import EIGHT, batch, small_conv
from tests.attacks.stateful import CLASSES

HALF = ThreatModel(Fraction(128, 255), "l2")


LARGE = ThreatModel(Fraction(8), "l2")


SMALL = {
    "steps": 3,
    "num_iter_set": 3,
    "max_iterations": 10,
    "binary_search_steps": 2,
    "n_queries": 10,
    "restarts": 2,
    "nb_sample": 8,
    "max_batch_size": 4,
    "noise_batch_size": 2,
    "x_dimensions": [1, 2],
    "y_dimensions": [1, 2],
}


FEW = {"SparseFool": {"steps": 1}, "AutoAttack": {"version": "rand"}, "Pixle": SMALL | {"max_iterations": 2}}


NAMES = [name for name in torchattacks.__all__ if name not in torchattacks.__wrapper__]


every_attack = pytest.mark.parametrize("algorithm", NAMES)


def parameters(algorithm):
    return inspect.signature(getattr(torchattacks, algorithm)).parameters


def small(algorithm, threat_model=None):
    """The attack with few steps, under a norm that it is for."""
    fields = {key: value for key, value in FEW.get(algorithm, SMALL).items() if key in parameters(algorithm)}
    model = threat_model or (HALF if algorithm in L2_ONLY else EIGHT)
    return Torchattacks.from_fields(algorithm, model, fields)


def make(algorithm, model=EIGHT, **fields):
    return Torchattacks.from_fields(algorithm, model, fields)


def seeded(start, call):
    """Return the tensor that `call` returns, with the global generators seeded as the guard seeds them."""
    with random_state_kept():
        torch.manual_seed(seed_of(start))
        np.random.seed(seed_of(start))
        random.seed(seed_of(start))
        return call().detach()


def easy(count=5, seed=0, dtype=torch.float32):
    """A classifier, images that it classifies right except for the first, their starts."""
    classifier = small_conv(CLASSES, 3, dtype=dtype).requires_grad_(False)
    images, _, start = batch(count, CLASSES, 3, seed, dtype)
    labels = classifier(images).argmax(1)
    labels[0] = (labels[0] + 1) % CLASSES
    return classifier, images, labels, start
