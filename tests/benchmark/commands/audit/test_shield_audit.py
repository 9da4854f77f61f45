"""SHIELD's released configurations: the swapped ball, statistics of the task's batch, verdicts thrown away, and its columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from benchmark.commands.audit.attacking import predicting
from benchmark.commands.audit.attacking.cells import AuditAttack, attacks_of, clean_attack
from benchmark.commands.audit.attacking.predicting import predictions_under
from benchmark.commands.audit.protocols.shield import COLUMNS, SWITCHES
from benchmark.commands.audit.switches import AuditProtocol
from benchmark.errors import ConfigError
from benchmark.evaluating.fingerprints import classifier_fingerprint
from reports.numbers.metrics import CLEAN
from scenarios.base import ImageSet, Task
from tests.benchmark.commands.audit.test_audit_attacking import EPS, classifier, task
from tests.benchmark.commands.audit.test_audit_command import run_audit

__all__ = ["task"]
CANONICAL = AuditProtocol()
CHANGES = {switch.name: switch.changes for switch in SWITCHES}


def turned(*names: str, **changes: object) -> AuditProtocol:
    protocol = CANONICAL
    for name in names:
        protocol = protocol.turned(CHANGES[name])
    return protocol.turned(changes)


def right(found: AuditAttack, network: nn.Module, images: ImageSet) -> np.ndarray:
    return predictions_under(found, network, images, 0, "key", 500) == images.labels.numpy()


def worst(protocol: AuditProtocol, network: nn.Module, images: ImageSet) -> np.ndarray:
    """As the comparison counts: right in all attacks of the protocol, and without one where the suite decides."""
    attacks = attacks_of(protocol, 10, EPS, 2)
    attacks += [clean_attack(protocol)] if protocol.counts_clean else []
    return np.logical_and.reduce([right(found, network, images) for found in attacks])


def test_a_swapped_radius_is_a_quarter_of_eps_with_steps_of_all_of_it() -> None:
    [alone] = attacks_of(turned("swapped_radius", "one_pgd"), 10, EPS, 5)
    assert (alone.geometry.eps, alone.geometry.step_size, alone.steps, alone.reads) == (EPS / 4, EPS, 100, "final")
    assert alone.geometry.random_start
    sizes = [found.geometry.step_size for found in attacks_of(turned("swapped_radius"), 10, EPS, 5)[:3]]
    assert sizes == [EPS / 2, EPS, 2 * EPS]
    assert turned("swapped_radius").training() == CANONICAL.training()


def test_half_the_radius_keeps_its_step_in_proportion_and_fgsm_goes_all_the_way_from_the_image() -> None:
    half = attacks_of(turned("half_radius"), 10, EPS, 5)[1].geometry
    assert (half.eps, half.step_size) == (EPS / 2, EPS / 8)
    [single] = attacks_of(turned(eval_alone="fgsm"), 10, EPS, 5)
    assert (single.steps, single.geometry.step_size, single.geometry.random_start) == (1, EPS, False)


def test_what_was_stored_before_keeps_its_name() -> None:
    assert set(AuditAttack(CLEAN).to_json()) == {"loss", "reads", "steps", "bn_mode", "geometry", "source"}


def test_in_a_task_batch_every_answer_depends_on_the_other_images(task: Task) -> None:
    network, images = classifier(), task.test
    whole = clean_attack(turned("eval_bn_batch"))
    before = classifier_fingerprint(network)
    alike = predictions_under(whole, network, images, 0, "key", 7)
    assert (alike == predictions_under(whole, network, images, 0, "key", 500)).all()
    # The same network on the same images by running statistics, and on other company, answers by other logits.
    seen: list[int] = []
    network.register_forward_hook(lambda module, args, output: seen.append(len(args[0])))
    predictions_under(attacks_of(turned("one_pgd", "eval_bn_batch"), 10, EPS, 2)[0], network, images, 0, "key", 7)
    assert set(seen) <= {2, len(images)}
    assert classifier_fingerprint(network) == before
    assert not any(module.training for module in network.modules())


def test_statistics_are_those_of_the_batch_and_gradients_go_through_them(task: Task) -> None:
    network = classifier()
    victim = predicting._victim(clean_attack(turned("eval_bn_batch")), network, task.test)
    images = task.test.images[:20].float() / 255
    together, alone = victim(images), victim(torch.cat([images[:10], 1 - images[10:]]))
    assert not torch.allclose(together[:10], alone[:10], atol=1e-3)
    assert torch.allclose(network(images)[:10], network(images[:10]), atol=1e-5)
    point = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(victim(point)[0, 0], point)
    # The first image's answer moves with the other images.
    assert float(gradient[1:].abs().sum()) > 0


def test_verdicts_that_are_thrown_away_change_nothing_in_eval_mode(task: Task) -> None:
    network = classifier()
    stands, anew = (worst(turned(*names), network, task.test) for names in ((), ("reclassified",)))
    assert 0.1 < stands.mean() < 0.9
    assert (stands == anew).all()


def test_verdicts_that_are_thrown_away_matter_where_answers_depend_on_the_batch(task: Task) -> None:
    network = classifier()
    protocols = turned("eval_bn_batch"), turned("eval_bn_batch", "reclassified")
    stands, anew = (worst(protocol, network, task.test) for protocol in protocols)
    assert (stands != anew).any()


def test_survivors_are_attacked_in_batches_of_their_own(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "SURVIVORS", 40)
    network, sizes = classifier(), []
    walk = predicting.walk

    def spy(logits: nn.Module, images: torch.Tensor, *rest: object, **more: object) -> object:
        sizes.append(len(images))
        return walk(logits, images, *rest, **more)

    monkeypatch.setattr(predicting, "walk", spy)
    [found] = attacks_of(turned("reclassified"), 10, EPS, 2)
    survivors = int(right(found, network, task.test).sum())
    assert max(sizes) <= 40
    attacks = [part for part in found.in_turn if part.steps]
    # The first attack meets all that are right without one, the last one hardly more than those that stand in the end.
    assert sum(sizes) < len(attacks) * len(task.test)
    assert sum(sizes[-1:]) >= min(survivors, 1)


def test_a_batch_that_does_not_fit_is_refused_and_not_split(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predicting, "rows_that_fit", lambda network, images, most: min(most, 30))
    for names in (("eval_bn_batch",), ("reclassified",)):
        with pytest.raises(
            ConfigError, match="must be one batch here, and memory has room for 30: give --samples 30 or fewer"
        ):
            worst(turned(*names), classifier(), task.test)
    assert len(worst(CANONICAL, classifier(), task.test)) == len(task.test)


def test_the_last_image_standing_is_not_attacked_because_it_has_no_batch(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, one = classifier(), task.test.select(torch.tensor([0]))
    anew = turned("eval_bn_batch", "reclassified")
    answer = predictions_under(clean_attack(anew), network, one, 0, "key", 500)
    one = replace(one, labels=torch.from_numpy(answer))
    walked: list[object] = []
    monkeypatch.setattr(predicting, "walk", lambda *arguments, **more: walked.append(arguments))
    [found] = attacks_of(anew, 10, EPS, 2)
    assert right(found, network, one).tolist() == [True]
    assert walked == []


# -- from end to end -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("shield")
    code, text = run_audit(folder, None, protocol="shield", samples=16)
    assert code == 0
    return folder, text


def found_table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / "out" / "audit" / "tables" / f"tiny__audit_shield{name}.csv", na_values="n/a")


def test_one_network_is_enough_for_every_switch(audited: tuple[Path, str]) -> None:
    folder, text = audited
    assert "1 of 1 runs to learn" in text
    found = found_table(folder, "")
    assert list(found["switch"])[:6] == ["canonical", *CHANGES]
    assert set(found.dropna(subset=["same_network"])["same_network"]) == {found["reported"][0]}
    assert "shield" in found.columns
    assert list(found["switch"]).count("interaction") == 2


def test_a_smaller_radius_never_breaks_more(audited: tuple[Path, str]) -> None:
    effects = found_table(audited[0], "").set_index("switch")["effect"]
    assert effects["half_radius"] >= 0
    assert effects["one_pgd"] >= 0
    assert effects["reclassified"] == 0


def test_the_columns_are_told_with_one_eps_and_with_each_its_own(audited: tuple[Path, str]) -> None:
    folder, text = audited
    found = found_table(folder, "_columns")
    means = found[found["task"] == "mean"].set_index("radii")
    assert list(means.index) == list(COLUMNS)
    # In one ball the suite, which counts any iterate of six walks, is not above one step by more than an image or two.
    assert means.loc["one eps", "autoattack"] <= means.loc["one eps", "fgsm"] + 0.05
    assert means.loc["each its own eps", "fgsm"] == means.loc["one eps", "fgsm"]
    assert "madry_at, one eps: suite (AutoAttack's place)" in text


def test_rows_that_are_copied_are_told_from_those_of_the_released_code(audited: tuple[Path, str]) -> None:
    found = found_table(audited[0], "_copied")
    assert list(found["source"].unique()) == ["measured here", "SHIELD's table"]
    own = found[found["attack"] == "PGD of the released code"]
    assert set(own["row"]) == {"SHIELD", "SHIELD-IM"}
    lead = found[found["source"] == "measured here"].iloc[1]
    assert lead["difference"] == pytest.approx(lead["accuracy"] - found.iloc[0]["accuracy"])


def test_both_audits_of_a_preset_stand_beside_each_other(audited: tuple[Path, str]) -> None:
    folder, _ = audited
    shield = sorted(path.name for path in (folder / "out" / "audit").rglob("*__audit_shield*"))
    code, _ = run_audit(folder, ["eval_attack"], samples=16)
    assert code == 0
    assert sorted(path.name for path in (folder / "out" / "audit").rglob("*__audit_shield*")) == shield
    assert (folder / "out/audit/tables/tiny__audit.csv").exists()
