"""Losses of attacks against their formulas written out."""

import math

import pytest
import torch

from attacks.base import AttackError, margins
from attacks.parts.losses import LOSSES, find_loss

LOGITS = [[2.0, 1.0, -1.0, 0.5], [0.0, 3.0, 3.0, 1.0], [-5.0, 4.0, 0.0, 4.0]]
LABELS = [0, 3, 1]


def written_out(name: str, row: list[float], label: int) -> float:
    own, others = row[label], [value for index, value in enumerate(row) if index != label]
    ordered = sorted(row, reverse=True)
    return {
        "ce": math.log(sum(math.exp(value) for value in row)) - own,
        "margin": max(others) - own,
        "dlr": (max(others) - own) / (ordered[0] - ordered[2] + 1e-12),
    }[name]


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_is_its_formula_per_sample(name):
    values = find_loss(name)(torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(LABELS))
    expected = [written_out(name, row, label) for row, label in zip(LOGITS, LABELS, strict=True)]
    torch.testing.assert_close(values, torch.tensor(expected, dtype=torch.float64))


def test_the_margin_loss_is_minus_the_margin():
    logits, labels = torch.randn(20, 5, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 5
    assert torch.equal(find_loss("margin")(logits, labels), -margins(logits, labels))


def test_dlr_ignores_scale_and_shift_and_needs_three_classes():
    logits, labels = torch.tensor(LOGITS, dtype=torch.float64), torch.tensor(LABELS)
    torch.testing.assert_close(find_loss("dlr")(logits, labels), find_loss("dlr")(logits * 50 + 3, labels))
    with pytest.raises(AttackError, match="has 2; use ce or margin"):
        find_loss("dlr")(logits[:, :2], labels * 0)


def test_margins_of_half_precision_logits_do_not_overflow():
    logits = torch.tensor([[60000.0, -60000.0]], dtype=torch.float16)
    assert margins(logits, torch.tensor([0])).tolist() == [120000.0]
