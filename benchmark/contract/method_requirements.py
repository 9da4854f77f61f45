"""The contract of a method (`methods/base.py`), requirement by requirement, on a stream that is learned in seconds.

A method is given no test images, so it has them only if it fetches them. It learns the stream once as it is and once with other
test images, whoever opens it; both must give the same classifiers. This does not catch a method that reads the data set's files
or package without the scenario, one that read them when its file was imported, and one that uses another data set.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import torch
from torch import nn

import results
from benchmark.contract import classifier_requirements as asked
from benchmark.contract import declared
from benchmark.contract.classifier_requirements import logits_of
from benchmark.contract.method_trial import (
    ELSEWHERE,
    OTHER_SEED,
    USUAL,
    Circumstances,
    Learned,
    MethodTrial,
    difference,
)
from benchmark.contract.requirement import Broken, Requirement, raised
from benchmark.errors import ConfigError, nearest
from benchmark.evaluating.fingerprints import classifier_fingerprint
from methods.base import CLAIMS, NEEDS, Method, MethodError, MethodSettings
from results.schema import HARNESS, UNFORGETTING
from scenarios.base import StreamProtocol, Task

PROTOCOLS = dict.fromkeys(get_args(StreamProtocol), "")
RESULTS = Path(str(results.__file__)).parent


# -- the class ------------------------------------------------------------------------------------------------------------


def settings_are_typed_and_valid(trial: MethodTrial) -> None:
    declared.settings_are_strict(trial.cls, MethodSettings)
    try:
        settings = trial.row.settings
    except ConfigError as error:
        raise Broken(
            f"it has no settings by default ({error})", "give every setting a default, or give it a value with --set"
        ) from None
    declared.settings_are_valid(settings)


def needs_and_claims_are_known(trial: MethodTrial) -> None:
    for name, known in (("needs", NEEDS), ("claims", CLAIMS), ("protocols", PROTOCOLS)):
        words = getattr(trial.cls, name)
        if not isinstance(words, frozenset):
            raise Broken(
                f"{name} is {words!r}", f'a frozenset of words, such as frozenset({{"{min(known)}"}}), or leave it out'
            )
        for word in sorted(words - known.keys(), key=str):
            raise Broken(f"{name} holds {word!r}", f"a known word{nearest(str(word), known)}")


def plans_can_be_made(trial: MethodTrial) -> None:
    try:
        job = trial.job(USUAL.seed)
    except (ConfigError, MethodError) as error:
        raise Broken(
            f"its run cannot be planned: {error}",
            "require methods and settings that exist, and check what fits the network",
        ) from None
    cls, settings = trial.cls, job.typed_settings
    for name, found in (("epochs", cls.epochs(settings, job.recipe)), ("passes", cls.passes(settings, job.recipe))):
        if isinstance(found, bool) or not isinstance(found, int | float) or not found > 0 or math.isinf(found):
            raise Broken(f"{name}() is {found!r}", "a number above 0, for estimates of time")


# -- learning --------------------------------------------------------------------------------------------------------------


def it_learns(trial: MethodTrial) -> None:
    try:
        _ = trial.usual
    except Broken:
        raise
    except (Exception, SystemExit) as error:
        passed = [Path(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
        if any(RESULTS in file.parents for file in passed):
            raise Broken(
                f"its state cannot be stored: {raised(error)}",
                "state() gives State(tensors by name, JSON by name): numbers, texts, lists and dictionaries of them",
            ) from error
        raise


def images_stay_as_given(trial: MethodTrial) -> None:
    for what in trial.usual.changed_images:
        raise Broken(
            f"learning changes {what}",
            "what is given is shared by all methods: work on copies, such as `to_float(images)`",
        )


def global_settings_stay(trial: MethodTrial) -> None:
    for name in trial.usual.changed_settings:
        raise Broken(
            f"learning leaves {name} changed",
            "change global settings not at all, or only in a `with` block that puts them back",
        )


def global_random_numbers_do_not_matter(trial: MethodTrial) -> None:
    for name, state in trial.usual.random_states.items():
        if state == trial.learned(ELSEWHERE).random_states[name]:
            raise Broken(
                f"learning seeds the global generator ({name})",
                "draw from context.rng(task, phase, purpose): every seed of a run then differs, and nothing else is disturbed",
            )
    _same_in(
        trial,
        Circumstances(global_seed=ELSEWHERE.global_seed),
        "what it learns depends on global random numbers",
        "draw from context.rng(task, phase, purpose), and give it to what takes a generator",
    )


def test_images_do_not_matter(trial: MethodTrial) -> None:
    _same_in(
        trial,
        Circumstances(other_test_images=True),
        "it gets at test images: with others in the stream it learns something else",
        "learn from task.train, and decide by task.validation; open no scenario",
    )


def the_same_seed_gives_the_same(trial: MethodTrial) -> None:
    _same_in(
        trial,
        # Nothing differs, but it happens a second time.
        replace(USUAL, turns=len(trial.usual.fingerprints)),
        "the same seed learns something else the second time",
        "nothing may be left over from an earlier instance, and nothing depend on time, ids or the order of a set",
    )


def _same_in(trial: MethodTrial, circumstances: Circumstances, wrong: str, change: str) -> None:
    """Raise Broken unless learning in these circumstances gives the same classifiers."""
    usual = trial.usual
    # If everything differs and nothing changes, no single difference can matter.
    if trial.learned(ELSEWHERE).fingerprints == usual.fingerprints:
        return
    found = trial.learned(circumstances)
    if found.fingerprints != usual.fingerprints:
        raise Broken(f"{wrong} ({_where(usual, found)})", change)


def _where(usual: Learned, other: Learned) -> str:
    """The first classifier that differs, and its tensors that do."""
    for task in usual.kept:
        if usual.kept[task].fingerprint != other.kept[task].fingerprint:
            return f"classifier({task}): {difference(usual.kept[task].classifier, other.kept[task].classifier)}"
    return "classifiers of earlier tasks, after later ones"


def another_seed_gives_another(trial: MethodTrial) -> None:
    if trial.learned(OTHER_SEED).fingerprints[0] == trial.usual.fingerprints[0]:
        raise Broken(
            "another seed learns the same classifiers",
            "initialise with context.network and draw from context.rng, which follow the run's seed",
        )


def validation_is_what_it_selected_by(trial: MethodTrial) -> None:
    found = {(fact["task"], fact["name"]): fact["value"] for fact in trial.usual.facts if fact["phase"] == HARNESS}
    selected = [(task, name) for task, name in found if name.startswith("selected_")]
    if not selected:
        raise Broken(
            "it does not say which validation accuracy it selected by",
            'train with context.train, or record "selected_clean" and "selected_robust", as context.validate gives them',
        )
    for task, name in selected:
        kind = name.removeprefix("selected_")
        logged, recomputed = found[(task, name)], found[(task, f"validation_{kind}")]
        if logged != recomputed:
            raise Broken(
                f"it selected by {kind} validation accuracy {logged}, but its classifier has {recomputed}",
                "hand out the network that was selected; where that is not what context.train left, record selected_clean and "
                "selected_robust of what is handed out",
            )


# -- state -----------------------------------------------------------------------------------------------------------------


def the_state_gives_the_classifiers_back(trial: MethodTrial) -> None:
    usual, fresh = trial.usual, trial.restored()
    for task in usual.tasks:
        classifier = trial.classifier(fresh, task.id)
        if classifier_fingerprint(classifier) != usual.fingerprints[-1][task.id]:
            differs = difference(trial.classifier(usual.method, task.id), classifier)
            raise Broken(
                f"a fresh instance with the stored state hands out another classifier({task.id}) ({differs})",
                "state() must hold everything that classifiers are made of, and load_state take it over",
            )


def learning_goes_on_from_the_state(trial: MethodTrial) -> None:
    usual, resumed = trial.usual, trial.resumed()
    if resumed.fingerprints[-1] != usual.fingerprints[-1]:
        before, after = usual.fingerprints[-1], resumed.fingerprints[-1]
        # The task that was learned last tells most.
        task = next(task for task in sorted(before, reverse=True) if before[task] != after[task])
        differs = difference(trial.classifier(usual.method, task), trial.classifier(resumed.method, task))
        raise Broken(
            f"after a kill before task {max(before)} it goes on to other classifiers than in one go (classifier({task}): "
            f"{differs})",
            "state() must hold everything that learning goes on with (weights, memory, counters), and random numbers come from "
            "context.rng",
        )


def classifiers_are_copies(trial: MethodTrial) -> None:
    usual = trial.usual
    own = "hand out a copy of its own, such as `copy.deepcopy(network).eval().requires_grad_(False)`"
    for task in usual.tasks:
        kept = usual.kept[task.id]
        if _changed(kept.classifier, kept.fingerprint) or not torch.equal(
            logits_of(kept.classifier, task), kept.logits
        ):
            raise Broken(f"learning later tasks changes a classifier({task.id}) that was handed out before", own)
    method = trial.restored()
    for task in usual.tasks:
        classifier = trial.classifier(method, task.id)
        before, logits = classifier_fingerprint(classifier), logits_of(classifier, task)
        _add_one(method.state().tensors.values())
        if _changed(classifier, before) or not torch.equal(logits_of(classifier, task), logits):
            raise Broken(f"changing the method's state changes a classifier({task.id}) that was handed out before", own)
    method = trial.restored()
    for task in usual.tasks:
        before = classifier_fingerprint(trial.classifier(method, task.id))
        _add_one(trial.classifier(method, task.id).state_dict().values())
        if _changed(trial.classifier(method, task.id), before):
            raise Broken(f"changing a classifier({task.id}) changes the method", own)


def _changed(classifier: nn.Module, fingerprint: str) -> bool:
    return classifier_fingerprint(classifier) != fingerprint


def _add_one(tensors: object) -> None:
    for tensor in tensors:  # type: ignore[attr-defined]
        if tensor.is_floating_point():
            tensor.detach().add_(1.0)


def nothing_is_forgotten(trial: MethodTrial) -> None:
    usual, fresh = trial.usual, trial.restored()
    for task in usual.tasks:
        now = trial.classifier(fresh, task.id)
        same = torch.equal(logits_of(now, task), usual.kept[task.id].logits)
        if _changed(now, usual.kept[task.id].fingerprint) or not same:
            raise Broken(
                f"it claims {UNFORGETTING!r}, but after the last task classifier({task.id}) is another one than after "
                f"its own ({difference(usual.kept[task.id].classifier, now)})",
                "take the claim back, or keep all that old classifiers are made of (batch norm too) where no later task moves it",
            )


def _claims_not_to_forget(trial: MethodTrial) -> bool:
    return UNFORGETTING in trial.usual.method.claimed()


def _several_turns(trial: MethodTrial) -> bool:
    return len(trial.usual.learner.turns) > 1


def _of_class(test: Callable[[type[Method]], None]) -> Callable[[MethodTrial], None]:
    return lambda trial: test(trial.cls)


def _each(test: Callable[[Task, nn.Module], None]) -> Callable[[MethodTrial], None]:
    """Test the classifier of every task, as it is after the last one."""

    def test_all(trial: MethodTrial) -> None:
        for task in trial.usual.tasks:
            test(task, trial.classifier(trial.usual.method, task.id))

    return test_all


def other_questions_are_answered(trial: MethodTrial) -> None:
    other = trial.under("class")
    for requirement in METHOD_REQUIREMENTS:
        if requirement.last or not requirement.applies(other):
            continue
        try:
            requirement.test(other)
        except Broken as broken:
            way_out = 'or set protocols = frozenset({"task"}) if it must be told the task'
            raise Broken(f"under protocol class: {broken.wrong}", f"{broken.change}; {way_out}") from broken
        except (Exception, SystemExit) as error:
            error.add_note("under protocol class")
            raise


def _answers_among_all_classes_too(trial: MethodTrial) -> bool:
    return trial.protocol == "task" and "class" in trial.cls.can_answer(trial.row.settings)


METHOD_REQUIREMENTS: tuple[Requirement[MethodTrial], ...] = (
    Requirement("it has a version", _of_class(declared.version_is_declared)),
    Requirement("it has a docstring, whose first line `list` shows", _of_class(declared.docstring_is_there)),
    Requirement("its settings are typed and their defaults valid", settings_are_typed_and_valid, gate=True),
    Requirement("what it needs and claims are known words", needs_and_claims_are_known, gate=True),
    Requirement("what it requires exists, and what it costs are numbers", plans_can_be_made, gate=True),
    Requirement("it learns the stream", it_learns, gate=True),
    Requirement("the images it is given stay as they were", images_stay_as_given),
    Requirement("torch's global settings stay as they were", global_settings_stay),
    Requirement(
        "its classifiers are modules in eval mode, frozen", _each(asked.it_is_a_frozen_module_in_eval_mode), gate=True
    ),
    Requirement("logits have a column per class of the task", _each(asked.logits_have_a_column_per_class), gate=True),
    Requirement("logits are finite, and no column is masked", _each(asked.logits_are_finite_and_none_is_masked)),
    Requirement("logits are no probabilities", _each(asked.logits_are_no_probabilities)),
    Requirement("asked twice, a classifier says the same", _each(asked.asked_twice_it_says_the_same), gate=True),
    Requirement(
        "an image's logits do not depend on the batch it is in", _each(asked.logits_do_not_depend_on_the_batch)
    ),
    Requirement("asking a classifier changes neither images nor classifier", _each(asked.asking_changes_nothing)),
    Requirement("gradients reach the images", _each(asked.gradients_reach_the_images)),
    Requirement("the validation accuracy it selected by is found again", validation_is_what_it_selected_by),
    Requirement("its classifiers are copies, which nothing changes later", classifiers_are_copies),
    Requirement("a fresh instance with its state gives the same classifiers", the_state_gives_the_classifiers_back),
    Requirement("no old classifier changes, as it claims", nothing_is_forgotten, applies=_claims_not_to_forget),
    Requirement("another seed learns another classifier", another_seed_gives_another),
    Requirement("the same seed learns the same", the_same_seed_gives_the_same, gate=True),
    Requirement(
        "learning goes on from its state to the same bits", learning_goes_on_from_the_state, applies=_several_turns
    ),
    Requirement("global random numbers do not matter", global_random_numbers_do_not_matter),
    Requirement("test images do not matter", test_images_do_not_matter),
    Requirement(
        "under protocol class one classifier answers among all classes seen, and all of this holds",
        other_questions_are_answered,
        last=True,
        applies=_answers_among_all_classes_too,
    ),
)
"""In the order in which they are tested. A later requirement relies on the gates before it."""
