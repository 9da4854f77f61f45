"""Checks on many classes, on classes of unequal size and on tasks of unequal size: chance is what guessing gives there."""

import numpy as np
import pytest

from reports.boards.building import judged
from reports.checks.check import FAIL, PASS, WARN, errors, errors_of_mean
from reports.checks.control import control_broken
from reports.checks.records import learned_something
from reports.numbers.metrics import WORST
from results import load
from tests.reports.synthetic_runs import FakeRun, pgd, write_run

CLASSES, IMAGES = [3, 64, 200], [60, 600, 1000]


def evidence_of(folder, *fakes):
    """The evidence on the first run, with the others beside it."""
    for fake in fakes:
        write_run(folder, fake)
    found = {seed.run.label: seed.evidence for seed in judged(load(folder, None), "digits")}
    return found[fakes[0].name]


def right(share):
    """Margins of which a share is right, whatever the attack."""
    return lambda attack, i, j, values: np.where(np.arange(len(values)) < round(share * len(values)), 1.0, -1.0)


@pytest.mark.parametrize(
    ("row", "control", "status"),
    [
        (0.16, 0.0, PASS),  # far from 20 points, and all there is
        (0.16, 0.015, PASS),  # at chance
        (0.16, 0.06, WARN),  # above chance, and less than half of the row
        (0.16, 0.12, FAIL),  # the attacks do not tell one from the other
        (0.6, 0.45, FAIL),
    ],
)
def test_a_row_of_64_classes_needs_no_20_points_above_the_control(tmp_path, row, control, status):
    usual = {"classes": 64, "samples": 640}
    mine = FakeRun("mine", edit_margin=right(row), **usual)
    plain = FakeRun("single_task_standard", edit_margin=right(control), **usual)
    assert control_broken(evidence_of(tmp_path, mine, plain)).status == status


def test_chance_is_that_of_the_largest_class(tmp_path):
    evidence = evidence_of(tmp_path, FakeRun(classes=CLASSES, samples=IMAGES, uneven=True))
    for task, classes in enumerate(CLASSES):
        shares = np.bincount(evidence.outcomes.labels[task]) / IMAGES[task]
        assert evidence.chance(task) == max(shares) > 1 / classes
    balanced = evidence_of(tmp_path / "balanced", FakeRun(classes=64, samples=640))
    assert balanced.chance(1) == 1 / 64


def test_chance_on_a_part_of_the_samples_is_that_of_its_own_largest_class(tmp_path):
    attack = pgd(40, samples=50)
    fake = FakeRun(classes=CLASSES, samples=IMAGES, uneven=True, final=[attack])
    evidence = evidence_of(tmp_path, fake)
    for task, classes in enumerate(CLASSES):
        part = np.bincount(fake.labels_of(task)[:50]).max() / 50
        assert evidence.chance(task, attack.name) == max(part, 1 / classes)
        assert evidence.chance(task, attack.name) != evidence.chance(task)
    # WORST is over the samples that all attacks cover.
    assert evidence.chance(0, WORST) == evidence.chance(0, attack.name)


def test_a_network_that_says_the_largest_class_alone_has_learned_nothing(tmp_path):
    fake = FakeRun(classes=64, samples=640, uneven=True, tasks=2)

    def collapsed(attack, i, j, values):
        labels = fake.labels_of(j)
        return np.where(labels == np.bincount(labels).argmax(), 1.0, -1.0)

    found = learned_something(evidence_of(tmp_path, FakeRun(**{**vars(fake), "edit_margin": collapsed})))
    assert (found.status, found.evidence) == (WARN, "2 of 2 tasks")


def test_the_error_of_a_mean_over_tasks_is_that_of_its_smallest_task():
    # Equal tasks: as of all samples together.
    assert errors_of_mean([0.2] * 4, [25] * 4) == pytest.approx(errors(0.2, 100))
    drawn = np.random.default_rng(0).binomial([30, 3000], [1 / 3, 1 / 64], (20_000, 2)) / [30, 3000]
    assert errors_of_mean([1 / 3, 1 / 64], [30, 3000]) == pytest.approx(2 * drawn.mean(1).std(), rel=0.02)
