"""The contract of an attack (`attacks/base.py`), requirement by requirement."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from attacks.base import ADDED_LATER, Attack, AttackResult, Outcome, margins
from attacks.clean import Clean
from attacks.parts.guard import random_state_kept
from attacks.parts.two_precisions import TwoPrecisions
from attacks.threat_model import BALL_TOLERANCE, ThreatModel
from benchmark.contract import attack_refusals, declared
from benchmark.contract.attack_trial import IMAGES, AttackTrial, SmoothConv
from benchmark.contract.requirement import Broken, Requirement
from benchmark.contract.surroundings import random_states, seed_everything

BATCH_TOLERANCE = 1e-12
"""Largest difference of pixels in float64 that rounding makes, if sums are taken in another order."""

MARGIN_TOLERANCE = 1e-4
"""Largest difference of margins in float32 that rounding makes."""

STEPS = (1, 3, 6)
"""Numbers of steps at which checkpoints are compared with attacks of their own."""

SPLITS: tuple[list[int], ...] = ([1] * IMAGES, [5, IMAGES - 5], [IMAGES - 1, 1])
"""Sizes of batches that the images are split into."""


def fields_of(cls: type[Attack]) -> dict[str, dataclasses.Field[Any]]:
    return {field.name: field for field in dataclasses.fields(cls)}


# -- the value -----------------------------------------------------------------------------------------------------------------


def it_is_a_value(trial: AttackTrial) -> None:
    attack, cls = trial.attack, type(trial.attack)
    # Its own parameters: the base class is a frozen dataclass, and a subclass without the decorator inherits them.
    parameters = vars(cls).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise Broken(f"{cls.__name__} is no frozen dataclass", "decorate it: @dataclass(frozen=True, kw_only=True)")
    again = trial.make()
    if again != attack or hash(again) != hash(attack):
        raise Broken("two attacks with the same fields are not equal", "leave __eq__ and __hash__ to the dataclass")


def its_specification_is_json(trial: AttackTrial) -> None:
    attack = trial.attack
    specification = attack.specification()
    try:
        same = json.loads(json.dumps(specification)) == specification
    except (TypeError, ValueError):
        same = False
    if not same:
        raise Broken("specification() is not JSON", "make fields of numbers, texts, Fractions and tuples of them")
    names = {
        name
        for name, field in fields_of(type(attack)).items()
        if name != "threat_model" and field.compare and not field.metadata.get(ADDED_LATER)
    }
    missing = (names | {"attack", "version", "norm", "eps"}) - specification.keys()
    if missing:
        raise Broken(
            f"specification() lacks {min(missing)}",
            "every field is part of what the attack is: leave specification() as it is",
        )


def its_name_is_one_line(trial: AttackTrial) -> None:
    attack = trial.attack
    if not attack.name.startswith(attack.kind) or "\n" in attack.name:
        raise Broken(
            f"its name is {attack.name!r}",
            f"one line that begins with {attack.kind!r}, such as `describe(self.kind, self.threat_model, extras)` gives",
        )


# -- the result ----------------------------------------------------------------------------------------------------------------


def it_runs(trial: AttackTrial) -> None:
    if not isinstance(trial.usual, AttackResult):
        raise Broken(f"run() returns a {type(trial.usual).__name__}", "return an AttackResult")
    for name in ("final", "any"):
        outcomes = getattr(trial.usual, name)
        if list(outcomes) != [trial.attack.steps]:
            raise Broken(
                f"run() without checkpoints reports `{name}` after {list(outcomes)} steps",
                f"after {trial.attack.steps} alone, the attack's own steps",
            )


def images_stay_in_ball_and_box(trial: AttackTrial) -> None:
    images, model = trial.batch().images, trial.attack.threat_model
    allowed = model.largest_allowed
    for name in ("adversarial", "worst"):
        found: Tensor = getattr(trial.usual, name)
        if found.shape != images.shape or found.dtype != images.dtype:
            raise Broken(
                f"`{name}` is {found.dtype} {tuple(found.shape)}",
                f"like the images: {images.dtype} {tuple(images.shape)}",
            )
        change = float(model.largest_change(found, images).max())
        if not change <= allowed:
            raise Broken(
                f"`{name}` changes an image by {change:.6f}, more than eps = {model}",
                "project after every step (`threat_model.ball(images).project`) and check at the end (`threat_model.check`)",
            )
        if not (found.min() >= 0 and found.max() <= 1):
            raise Broken(
                f"`{name}` reaches {found.min():.6f} .. {found.max():.6f}", "clip to [0, 1] after every step, not once"
            )


def outcomes_are_the_classifier_on_the_images(trial: AttackTrial) -> None:
    _outcomes_are_said_by(trial.classifier(), trial, trial.usual, "the classifier")


def outcomes_are_exact(trial: AttackTrial) -> None:
    try:
        outcomes_are_the_classifier_on_the_images(trial)
    except Exception:  # told already, by the requirement of that name
        return
    # Another network, not a rounded one: what is taken from it is seen at once.
    exact, other = trial.classifier(), SmoothConv(trial.classes, seed=5).eval()
    result = trial.run(classifier=TwoPrecisions(exact, other))
    _outcomes_are_said_by(exact, trial, result, "the exact classifier of two precisions")


def _outcomes_are_said_by(classifier: nn.Module, trial: AttackTrial, result: AttackResult, said: str) -> None:
    batch, steps = trial.batch(), trial.attack.steps
    for name, outcome, images in (
        ("final", result.final[steps], result.adversarial),
        ("any", result.any[steps], result.worst),
    ):
        kept = "adversarial" if name == "final" else "worst"
        logits = classifier(images).detach()
        if outcome.predicted.dtype != torch.int64 or outcome.margin.dtype != torch.float32:
            raise Broken(
                f"`{name}` has predictions of {outcome.predicted.dtype} and margins of {outcome.margin.dtype}",
                "int64 and float32, as `outcome_of` gives them",
            )
        close = torch.allclose(outcome.margin, margins(logits, batch.labels), rtol=1e-5, atol=MARGIN_TOLERANCE)
        if not torch.equal(outcome.predicted, logits.argmax(1)) or not close:
            raise Broken(
                f"`{name}` is not what {said} says about `{kept}`",
                "ask the classifier about the very images that are returned, after the last projection",
            )
        if images.requires_grad or outcome.margin.requires_grad:
            raise Broken(f"`{kept}` or `{name}` still holds a graph", "return detached tensors")


def any_iterate_is_the_worst(trial: AttackTrial) -> None:
    result, steps = trial.usual, trial.attack.steps
    if not (result.any[steps].margin <= result.final[steps].margin).all():
        raise Broken(
            "`any` has a larger margin than `final` for some images",
            "the final iterate is one of all iterates: `any` is the smallest margin met on the way",
        )


def its_trace_is_numbers(trial: AttackTrial) -> None:
    trace, steps = trial.usual.trace, trial.attack.steps
    columns = {name: getattr(trace, name) for name in ("loss", "largest_change", "zero_gradients", "non_finite")}
    for name, values in columns.items():
        if not isinstance(values, list) or not all(type(value) is float for value in values):
            raise Broken(
                f"trace.{name} holds other things than floats", "a list of Python floats, such as .tolist() gives"
            )
    # One per iterate, the start included, and one per gradient; an attack that ends early has fewer.
    if steps and (len(trace.loss) > steps + 1 or not len(trace.zero_gradients) == len(trace.non_finite) <= steps):
        raise Broken(
            f"the trace has {len(trace.loss)} losses and {len(trace.zero_gradients)} shares of zero gradients for {steps} steps",
            "at most one loss per iterate 0..steps, and one share of zero and of non-finite entries per gradient",
        )
    if max(trace.largest_change, default=0.0) > float(trial.attack.threat_model.eps) + BALL_TOLERANCE:
        raise Broken("trace.largest_change exceeds eps", "record the change of the projected images")
    for name in ("gradient_evaluations", "forward_passes"):
        count = getattr(trial.usual, name)
        if type(count) is not int or count < (name == "forward_passes"):
            raise Broken(
                f"{name} is {count!r}", "how many images were asked about, all restarts counted, as a whole number"
            )


# -- what it may not touch -------------------------------------------------------------------------------------------------------


def it_leaves_everything_as_it_was(trial: AttackTrial) -> None:
    for frozen in (True, False):
        _leaves_untouched(trial, frozen)


def _leaves_untouched(trial: AttackTrial, frozen: bool) -> None:
    batch, classifier = trial.batch(), trial.classifier().requires_grad_(not frozen)
    for parameter in classifier.parameters():
        parameter.grad = None if frozen else torch.full_like(parameter, 0.25)
    state = copy.deepcopy(classifier.state_dict())
    given = {"images": batch.images, "labels": batch.labels, "sample ids": batch.start.samples}
    before = {name: tensor.clone() for name, tensor in given.items()}
    with random_state_kept():
        seed_everything(5)
        random_state = random_states()
        trial.run(classifier=classifier, images=batch.images, labels=batch.labels, start=batch.start)
        drawn = [name for name, found in random_states().items() if found != random_state[name]]
    changed = [name for name, tensor in given.items() if not torch.equal(tensor, before[name]) or tensor.requires_grad]
    if changed:
        raise Broken(f"it changes the {changed[0]} it is given", "work on a copy; set requires_grad on that copy alone")
    if drawn:
        raise Broken(
            f"it uses or seeds a global generator ({drawn[0]})",
            "take every random number from `start`: it depends on the sample alone",
        )
    if any(not torch.equal(value, state[name]) for name, value in classifier.state_dict().items()):
        raise Broken("it changes the classifier's weights or buffers", "leave them: a classifier is only asked")
    if any(module.training for module in classifier.modules()):
        raise Broken("it switches the classifier to training mode", "attack it in the mode in which it is given")
    if any(parameter.requires_grad == frozen for parameter in classifier.parameters()):
        raise Broken("it changes which parameters take a gradient", "leave requires_grad of parameters as it is")
    grads = [parameter.grad for parameter in classifier.parameters()]
    if any((grad is not None) if frozen else (grad is None or bool((grad != 0.25).any())) for grad in grads):
        raise Broken(
            "it writes gradients into the classifier's parameters",
            "torch.autograd.grad(loss, images) instead of loss.backward()",
        )
    if not torch.is_grad_enabled():
        raise Broken("it leaves gradients switched off", "use torch.no_grad in a `with` block")


def it_is_deterministic(trial: AttackTrial) -> None:
    results = []
    for seed in (0, 1):
        with random_state_kept():
            seed_everything(seed)
            results.append(trial.run())
    first, second = results
    if not _same_result(first, second, trial.attack.steps) or first.trace != second.trace:
        raise Broken(
            "it gives another result the second time",
            "take every random number from `start`, so that every method is attacked from the same points",
        )


def _same_result(first: AttackResult, second: AttackResult, steps: int) -> bool:
    return (
        torch.equal(first.adversarial, second.adversarial)
        and _same(first.final[steps], second.final[steps])
        and _same(first.any[steps], second.any[steps])
    )


def _same(first: Outcome, second: Outcome) -> bool:
    return torch.equal(first.predicted, second.predicted) and torch.equal(first.margin, second.margin)


def batches_do_not_matter(trial: AttackTrial) -> None:
    # In float64: in float32 a rounding error can turn the sign of a gradient.
    batch, classifier, steps = trial.batch(torch.float64), trial.classifier(torch.float64), trial.attack.steps
    whole = trial.attack.run(classifier, batch.images, batch.labels, batch.start)
    order = torch.randperm(IMAGES, generator=torch.Generator().manual_seed(3))
    for sizes in SPLITS:
        for index in order.split(sizes):
            part = batch.select(index)
            found = trial.attack.run(classifier, part.images, part.labels, part.start)
            same = torch.allclose(found.adversarial, whole.adversarial[index], rtol=0, atol=BATCH_TOLERANCE)
            predicted = torch.equal(found.any[steps].predicted, whole.any[steps].predicted[index])
            close = torch.allclose(found.any[steps].margin, whole.any[steps].margin[index], atol=MARGIN_TOLERANCE)
            if not (same and predicted and close):
                raise Broken(
                    f"an image gets another result in a batch of {len(index)} than in one of {IMAGES}",
                    "draw per sample (`start.uniform`), stop per image, and sum losses instead of averaging them; or declare "
                    "`batch_free = False`",
                )


def it_runs_where_gradients_are_off(trial: AttackTrial) -> None:
    contexts: tuple[Callable[[], AbstractContextManager[Any]], ...] = (torch.no_grad, torch.inference_mode)
    expected = trial.run()
    for context in contexts:
        batch, classifier = trial.batch(), trial.classifier()
        with context():
            # In inference mode: inference tensors, which autograd refuses.
            found = trial.run(classifier=classifier, images=batch.images * 1, labels=batch.labels * 1)
        if not _same_result(found, expected, trial.attack.steps):
            raise Broken(
                f"it gives another result under torch.{context.__name__}",
                "make the Victim and ask it inside `torch.inference_mode(False)` and `torch.enable_grad()`",
            )


# -- special cases --------------------------------------------------------------------------------


def eps_zero_changes_nothing(trial: AttackTrial) -> None:
    fields = {"step_size": "eps/4"} if "step_size" in fields_of(type(trial.attack)) else {}
    attack = trial.make(threat_model=ThreatModel(Fraction(0), trial.attack.threat_model.norm), **fields)
    result, clean = trial.run(attack), trial.run(Clean())
    found, expected = result.final[attack.steps], clean.final[0]
    close = torch.allclose(found.margin, expected.margin, atol=MARGIN_TOLERANCE)
    unchanged = torch.equal(result.adversarial, trial.batch().images)
    if not (unchanged and close and torch.equal(found.predicted, expected.predicted)):
        raise Broken(
            "with eps 0 it changes images or predictions", "keep every iterate in the ball, the start included"
        )


def _changes_images(trial: AttackTrial) -> bool:
    return trial.attack.threat_model.eps > 0


def checkpoints_are_shorter_attacks(trial: AttackTrial) -> None:
    longest = trial.make(steps=max(STEPS))
    result = trial.run(longest, checkpoints=list(_checkpoints(trial)))
    for steps in _checkpoints(trial):
        alone = trial.run(trial.make(steps=steps))
        if not _same(result.final[steps], alone.final[steps]) or not _same(result.any[steps], alone.any[steps]):
            raise Broken(
                f"the checkpoint after {steps} of {longest.steps} steps is not the attack of {steps} steps",
                "where iterates depend on the number of steps to come, override family() and keep `steps` in it",
            )


def _checkpoints(trial: AttackTrial) -> tuple[int, ...]:
    """Numbers of steps that one run of the longest attack may report."""
    family = trial.make(steps=max(STEPS)).family()
    return tuple(steps for steps in STEPS if trial.make(steps=steps).family() == family)


def _shares_a_trajectory(trial: AttackTrial) -> bool:
    return "steps" in fields_of(type(trial.attack)) and len(_checkpoints(trial)) > 1


def _of_class(test: Callable[[type[Attack]], None]) -> Callable[[AttackTrial], None]:
    return lambda trial: test(type(trial.attack))


def _batch_free(trial: AttackTrial) -> bool:
    return trial.attack.batch_free


ATTACK_REQUIREMENTS: tuple[Requirement[AttackTrial], ...] = (
    Requirement("it has a version", _of_class(declared.version_is_declared)),
    Requirement("it has a docstring, whose first line `list` shows", _of_class(declared.docstring_is_there)),
    Requirement("it is a value: a frozen dataclass, equal where its fields are", it_is_a_value, gate=True),
    Requirement("its specification is JSON and holds every field", its_specification_is_json),
    Requirement("its name is one line that begins with its kind", its_name_is_one_line),
    Requirement("it runs", it_runs, gate=True),
    Requirement("its images stay in the ball and in [0, 1]", images_stay_in_ball_and_box),
    Requirement("its outcomes are the classifier on its images", outcomes_are_the_classifier_on_the_images),
    Requirement("its outcomes are those of full precision, whatever it walks on", outcomes_are_exact),
    Requirement("any iterate is never better than the final one", any_iterate_is_the_worst),
    Requirement("its trace and costs are numbers", its_trace_is_numbers),
    Requirement("it leaves classifier, batch and random state as they were", it_leaves_everything_as_it_was),
    Requirement("it is deterministic", it_is_deterministic),
    Requirement("an image's result does not depend on its batch", batches_do_not_matter, applies=_batch_free),
    Requirement("it runs where gradients are switched off", it_runs_where_gradients_are_off),
    Requirement("with eps 0 nothing changes", eps_zero_changes_nothing, applies=_changes_images),
    Requirement(
        "its checkpoints are the shorter attacks", checkpoints_are_shorter_attacks, applies=_shares_a_trajectory
    ),
    Requirement("broken classifiers are errors of one line", attack_refusals.broken_classifiers),
    Requirement("bad batches and checkpoints are errors of one line", attack_refusals.bad_batches),
)
