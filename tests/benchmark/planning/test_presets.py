"""Presets: what is valid, and one clear line for what is not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from attacks.parts.sharing import share_runs
from benchmark.errors import ConfigError
from benchmark.planning.demands import demands
from benchmark.planning.presets import Preset, available, load_preset
from benchmark.planning.presets.overrides import merged
from scenarios.base import SourceOptions
from tests.conftest import REPOSITORY
from tests.scenarios.pictures import write_tree
from tests.tiny import TINY, write_preset


def tiny(**changes: Any) -> Preset:
    return Preset("tiny", merged(TINY, changes), "tiny")


@pytest.mark.parametrize("name", sorted(available()))
def test_every_built_in_preset_is_valid_and_names_existing_things(name: str, tmp_path: Path) -> None:
    preset = load_preset(name)
    assert preset.rows
    # Classes of photographs are counted on disk.
    for data_set in preset.file.scenario.get("data_sets", ()):
        folder = data_set["folder"] if isinstance(data_set, dict) else data_set
        write_tree(tmp_path / folder, classes=[f"class {i}" for i in range(5)])
    source = SourceOptions(tmp_path if "data_sets" in preset.file.scenario else None)
    assert len(preset.scenario(source).stream()) > 1
    assert preset.matrix[0].attack.name == "clean"


def test_a_preset_that_names_no_attacks_is_attacked_with_pgd_10() -> None:
    for file in ({**TINY, "evaluation": {}}, {key: value for key, value in TINY.items() if key != "evaluation"}):
        preset = Preset("tiny", file, "tiny")
        assert [demand.attack.name for demand in preset.matrix] == ["clean", "pgd-10 linf 51/255 a=12.75/255"]


@pytest.mark.parametrize("name", sorted(available()))
def test_every_built_in_preset_evaluates_the_matrix_attacks_after_the_last_task_too(name: str) -> None:
    preset = load_preset(name)
    assert {demand.attack for demand in preset.matrix} <= {demand.attack for demand in preset.final}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sedes": [0]}, ["sedes", "did you mean 'seeds'"]),
        ({"recipe": {"epoch": 3}}, ["recipe.epoch", "did you mean 'epochs'"]),
        ({"recipe": {"attack": {"step": 3}}}, ["recipe.attack.step", "did you mean 'steps'"]),
        ({"recipe": {"epochs": 0}}, ["recipe.epochs", "0", "greater than or equal to 1"]),
        ({"recipe": {"epochs": "many"}}, ["recipe.epochs", "'many'"]),
        ({"eps": "8"}, ["eps", "8/255, not 8"]),
        ({"eps": "acht"}, ["eps", "'acht'"]),
        ({"seeds": []}, ["seeds"]),
        ({"seeds": [0, 0]}, ["seeds", "different"]),
        ({"seeds": [-1]}, ["seeds", "-1"]),
        ({"methods": [{"method": "madry"}]}, ["'madry'", "did you mean 'madry_at'"]),
        ({"methods": [{"method": "madry_at", "settings": {"per_task_nb": True}}]}, ["per_task_nb", "'per_task_bn'"]),
        ({"methods": [{"method": "madry_at"}, {"method": "madry_at"}]}, ["madry_at", "twice"]),
        ({"methods": []}, ["methods"]),
        ({"backbone": {"name": "vgg"}}, ["backbone.name", "'vgg'", "vgg16_bn"]),
        ({"scenario": {"name": "digitz"}}, ["digitz", "did you mean 'digits'"]),
        ({"scenario": {"task": 2}}, ["scenario", "task", "did you mean 'tasks'"]),
        ({"scenario": {"tasks": 6}}, ["tasks = 6", "5 tasks"]),
        ({"scenario": {"train_fraction": 2}}, ["train_fraction", "2"]),
        ({"evaluation": {"matrix": [{"attack": "pdg"}]}}, ["'pdg'", "did you mean 'pgd'"]),
        ({"evaluation": {"matrix": [{"attack": "pgd", "stepz": 3}]}}, ["stepz", "did you mean 'steps'"]),
        ({"evaluation": {"matrix": [{"attack": "pgd", "step_size": "eps/4"}]}}, ["pgd", "missing", "steps"]),
        ({"evaluation": {"matrix": [{"attack": "pgd", "steps": 0, "step_size": "eps/4"}]}}, ["steps", "0"]),
        ({"evaluation": {"matrix": [{"attack": "pgd", "steps": [], "step_size": "eps"}]}}, ["steps", "empty"]),
        ({"evaluation": {"matrix": [{"attack": "fgsm", "eps": 2}]}}, ["eps", "2"]),
        ({"evaluation": {"matrix": [{"attack": "fgsm", "samples": 0}]}}, ["samples", "0"]),
        ({"evaluation": {"matrix": ["clean"]}}, ["evaluation.matrix.0", "dictionary"]),
        ({"evaluation": {"matrix": [{"steps": 3}]}}, ["matrix[0]", "{attack: NAME"]),
    ],
)
def test_a_mistake_is_one_line_that_names_the_field_and_what_would_be_right(
    changes: dict[str, Any], words: list[str]
) -> None:
    raw = merged(TINY, changes)
    with pytest.raises(ConfigError) as error:
        Preset("tiny", raw, "tiny").scenario(SourceOptions())
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_sweeps_are_multiplied_out() -> None:
    entry = {"attack": "pgd", "steps": [10, 40], "step_size": ["eps/8", "eps/4", "eps/2"], "samples": 7}
    found = demands([entry], tiny().eps, "x")
    assert len(found) == 6
    assert {demand.samples for demand in found} == {7}
    assert "pgd-40 linf 51/255 a=6.375/255" in {demand.attack.name for demand in found}


def test_the_same_attack_twice_is_one_on_the_larger_number_of_samples() -> None:
    for samples, expected in (([5, 9], 9), ([9, 5], 9), ([5, None], None), ([None, 5], None)):
        entries = [{"attack": "fgsm"} | ({"samples": n} if n else {}) for n in samples]
        (demand,) = demands(entries, tiny().eps, "x")
        assert demand.samples == expected


def test_set_changes_the_preset_and_its_name(tmp_path: Path) -> None:
    path = str(write_preset(tmp_path))
    changed = load_preset(path, ["recipe.epochs=7", "methods.madry_at.per_task_bn=true", "scenario.order=3"])
    assert changed.file.recipe.epochs == 7
    assert changed.rows[0].settings.model_dump() == {"per_task_bn": True}
    assert changed.file.scenario["order"] == 3
    assert changed.name == "tiny methods.madry_at.per_task_bn=true recipe.epochs=7 scenario.order=3"
    assert load_preset(path).name == "tiny"


def test_a_rows_recipe_can_differ_from_the_presets(tmp_path: Path) -> None:
    rows = [{"method": "madry_at"}, {"method": "madry_at", "label": "pgd-7", "recipe": {"attack": {"steps": 7}}}]
    first, second = load_preset(str(write_preset(tmp_path, methods=rows))).rows
    assert (first.recipe.attack.steps, second.recipe.attack.steps) == (2, 7)
    assert second.recipe.epochs == first.recipe.epochs


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("recipe.epochs", ["key.path=value"]),
        ("recipe.epoch=3", ["recipe.epoch", "'epochs'"]),
        ("description.x=3", ["description", "no keys"]),
        ("methods.madry=3", ["methods.LABEL.setting"]),
        ("methods.madri_at.per_task_bn=true", ["madri_at", "'madry_at'"]),
    ],
)
def test_a_wrong_override_is_one_line(tmp_path: Path, override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load_preset(str(write_preset(tmp_path)), [override])
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize("text", ["", "a: [", "- 1", "\x00", "just text"])
def test_a_file_that_is_no_preset_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load_preset(str(path))


def test_an_unknown_preset_gets_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        load_preset("digit")


def test_a_file_may_not_take_a_built_in_presets_name(tmp_path: Path) -> None:
    path = tmp_path / "digits.yaml"
    path.write_text(yaml.safe_dump(TINY))
    with pytest.raises(ConfigError, match="another name"):
        load_preset(str(path))


def test_methods_are_chosen_by_label_then_by_name_then_from_the_registry(tmp_path: Path) -> None:
    rows = [
        {"method": "madry_at", "label": "a"},
        {"method": "madry_at", "label": "b", "settings": {"per_task_bn": True}},
        {"method": "standard"},
    ]
    path = str(write_preset(tmp_path, methods=rows))

    def labels(*names: str) -> list[str]:
        return [row.label for row in load_preset(path, methods=names).choose(names)]

    assert labels("b") == ["b"]
    assert labels("madry_at") == ["a", "b"]
    assert labels("joint_at", "a") == ["joint_at", "a"]
    with pytest.raises(ConfigError, match="'standard'"):
        labels("standart")


def test_a_preset_that_extends_another_trains_what_that_trains_and_measures_more() -> None:
    plain, full = load_preset("digits"), load_preset("digits-full")
    rows = {row.label: row for row in full.rows}
    optional = {entry.label or entry.method: plain.row(entry) for entry in plain.file.optional}
    for label, row in {**{row.label: row for row in plain.rows}, **optional}.items():
        assert (rows[label].settings, rows[label].recipe) == (row.settings, row.recipe), "the same runs"
    assert {demand.attack for demand in plain.final} < {demand.attack for demand in full.final}
    assert (plain.eps, plain.file.backbone, plain.file.seeds) == (full.eps, full.file.backbone, full.file.seeds)


def test_a_row_that_is_optional_runs_as_the_preset_says_where_it_is_named() -> None:
    assert "pretrained_at" not in [row.label for row in load_preset("digits").rows]
    (row,) = load_preset("digits", methods=["pretrained_at"]).choose(["pretrained_at"])
    assert row.settings.pretrain == {"name": "photo_patches"}
    per_task = load_preset("digits", methods=["anp_vs_per_task"]).choose(["anp_vs_per_task"])
    assert [(row.label, row.settings.weights) for row in per_task] == [("anp_vs_per_task", "independent")]
    both = load_preset("digits", methods=["anp_vs"]).choose(["anp_vs"])
    assert "anp_vs" in [row.label for row in both]


@pytest.mark.parametrize("name", sorted(available()))
def test_a_built_in_row_with_a_recipe_of_its_own_says_where_it_is_from(name: str) -> None:
    preset = load_preset(name)
    for entry in [*preset.file.methods, *preset.file.optional]:
        assert entry.source or not entry.recipe, entry.label or entry.method


@pytest.mark.parametrize("name", sorted(available()))
def test_every_row_of_a_built_in_preset_can_answer_what_is_asked_at_test(name: str) -> None:
    preset = load_preset(name)
    # `pretrained_at` is told by the user what it starts from.
    optional = [preset.row(entry) for entry in preset.file.optional if entry.method != "pretrained_at"]
    for row in [*preset.rows, *optional]:
        assert preset.scenario_settings.protocol in row.plugin.cls.can_answer(row.settings), row.label


def test_the_fields_methods_stand_in_the_presets_of_its_streams() -> None:
    old, kept = {"standard", "madry_at", "joint_at"}, {"er", "derpp", "lwf", "ewc"}
    told = old | kept | {"single_task_at", "packnet", "cmat", "agem", "si", "gpm", "dgp", "wsn", "piggyback"}
    for name in ("fashion", "split-cifar10", "split-cifar100"):
        assert {row.label for row in load_preset(name).rows} >= told
    for name in ("fashion-class", "split-cifar100-class"):
        assert {row.label for row in load_preset(name).rows} >= old | kept | {"icarl"}


@pytest.mark.parametrize(("name", "base"), [("fashion-class", "fashion"), ("split-cifar100-class", "split-cifar100")])
def test_both_questions_are_asked_of_the_same_images_networks_and_training(name: str, base: str) -> None:
    asked, told = load_preset(name), load_preset(base)
    assert (asked.scenario_settings.protocol, told.scenario_settings.protocol) == ("class", "task")
    assert asked.file.scenario == {**told.file.scenario, "protocol": "class"}
    assert (asked.eps, asked.file.backbone, asked.file.recipe) == (told.eps, told.file.backbone, told.file.recipe)
    assert [demand.attack for demand in asked.matrix] == [demand.attack for demand in told.matrix]
    common = {row.label: row for row in told.rows}
    for row in asked.rows:
        if row.label in common:
            assert row.settings == common[row.label].settings, row.label


def test_the_thesis_rows_stand_in_the_presets_of_the_whole_comparison() -> None:
    eight = {"standard", "madry_at", "free_at", "pretrained_at", "trades", "anp_vs", "packnet", "cmat"}
    for name in ("digits-full", "cifar100-cpu"):
        assert eight <= {row.label for row in load_preset(name).rows}
    for name in ("cifar100", "cifar100-full", "thesis"):
        preset = load_preset(name)
        assert eight <= {row.label for row in preset.rows} | {entry.method for entry in preset.file.optional}
    assert len(load_preset("digits").rows) == 6, "the first contact stays short"


def test_three_and_all_superclasses_are_learned_by_the_same_rows_on_two_cores() -> None:
    three, all_of_them = load_preset("cifar100-cpu"), load_preset("cifar100-20-cpu")
    assert (all_of_them.eps, all_of_them.file.backbone) == (three.eps, three.file.backbone)
    differ = {"precision", "attack", "selection"}
    assert all_of_them.file.recipe.model_dump(exclude=differ) == three.file.recipe.model_dump(exclude=differ)
    settings = {row.label: row.settings for row in three.rows}
    for row in all_of_them.rows:
        assert row.settings == settings[row.label], row.label
    assert {"standard", "madry_at", "anp_vs", "packnet", "cmat"} <= {row.label for row in all_of_them.rows}


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("methods.packnet.training=tradez", "training = 'tradez': one of clean, madry, trades, free, fast"),
        ("methods.packnet.training={beta: 3}", "training = {'beta': 3}: one of clean, madry, trades, free, fast"),
        ("methods.packnet.training={name: trades, betta: 3}", "training.trades.betta: unknown key; did you mean 'beta'?"),
        ("methods.packnet.training={name: trades, beta: -3}", "training.trades.beta = -3: Input should be greater than 0"),
        ("methods.packnet.recipe.schedule=cyclic", "packnet.recipe: schedule = cyclic rises from 0: set rate_per to step"),
    ],
)  # fmt: skip
def test_a_training_algorithm_that_is_none_is_one_line(override: str, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_preset("digits", [override])
    assert says in str(error.value)


@pytest.mark.parametrize("base", ["digitz", "mine", "digits-full"])
def test_what_cannot_be_extended_is_one_line(tmp_path: Path, base: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"extends": base, "description": "x"}))
    with pytest.raises(
        ConfigError, match=f"mine: extends = '{base}': (not a built-in preset|that one extends another)"
    ):
        load_preset(str(path))


@pytest.mark.parametrize("name", ["digits-full", "cifar100-cpu", "cifar100", "cifar100-full"])
def test_the_whole_sweep_stands_in_the_presets_that_are_for_it(name: str) -> None:
    preset = load_preset(name)
    pgd = [demand.attack for demand in preset.final if demand.attack.kind == "pgd"]
    linf = [attack for attack in pgd if attack.threat_model.norm == "linf"]
    assert {attack.steps for attack in linf} == {7, 10, 20, 40}
    assert {attack.threat_model.eps / preset.eps for attack in linf} == {Fraction(1, 4), Fraction(1, 2), 1, 2}
    assert len({attack.step_size / attack.threat_model.eps for attack in linf}) == 3  # type: ignore[attr-defined]
    assert {attack.restarts for attack in linf} == {1, 5}  # type: ignore[attr-defined]
    # All of it, restarts and eps included, is one run per norm and loss.
    runs = share_runs(pgd)
    assert sorted(len(run.members) for run in runs) == [1, 1, len(pgd) - 2]
    assert max(run.rows_per_image for run in runs) == 4 * 3 + 4
    official = {"digits-full": "autoattack-c2"}.get(name, "autoattack")
    assert [demand.attack.kind for demand in preset.final if "autoattack" in demand.attack.kind] == [official]
    assert {demand.attack.source for demand in preset.transfers} == {  # type: ignore[attr-defined]
        "single_task_standard", "single_task_at", "earlier",
    }  # fmt: skip


def test_dashes_and_underscores_name_the_same_attack() -> None:
    (first,) = demands([{"attack": "autoattack-c2"}], Fraction(1, 5), "here")
    (second,) = demands([{"attack": "autoattack_c2"}], Fraction(1, 5), "here")
    assert first == second


def test_an_attack_of_torchattacks_goes_by_its_name_there() -> None:
    (demand,) = demands([{"attack": "torchattacks:MIFGSM", "steps": 3, "samples": 5}], Fraction(8, 255), "here")
    assert demand.attack.name == "torchattacks:MIFGSM linf 8/255 steps=3"
    assert demand.samples == 5
    (l2,) = demands([{"attack": "torchattacks:CW", "eps": "128/255", "steps": 3}], Fraction(8, 255), "here")
    assert l2.attack.name == "torchattacks:CW l2 128/255 steps=3"
    with pytest.raises(ConfigError, match=r"here.*MIFGSM"):
        demands([{"attack": "torchattacks:MIFGSN"}], Fraction(8, 255), "here")
    with pytest.raises(ConfigError, match=r"here.*decay"):
        demands([{"attack": "torchattacks:MIFGSM", "decoy": 3}], Fraction(8, 255), "here")


def test_an_attack_from_outside_is_what_its_file_says_and_goes_by_its_name(tmp_path: Path) -> None:
    source = REPOSITORY / "attacks" / "noise.py"
    found = []
    for folder, text in (
        ("a", source.read_text()),
        ("b", source.read_text()),
        ("c", source.read_text() + "# edited\n"),
    ):
        path = tmp_path / folder / "my_noise.py"
        path.parent.mkdir()
        path.write_text(text)
        preset = tmp_path / f"{folder}.yaml"
        raw = {"extends": "digits", "description": "x", "evaluation": {"final": [{"attack": str(path)}]}}
        preset.write_text(yaml.safe_dump(raw))
        found.append(load_preset(str(preset)).final[-1].attack)
    assert [attack.kind for attack in found] == ["my-noise"] * 3
    first, same, edited = (attack.specification() for attack in found)
    assert first == same
    assert {key for key in first if first[key] != edited[key]} == {"file"}


def test_a_method_from_outside_is_set_by_the_name_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from methods.madry_at import MadryAT\n\nclass Mine(MadryAT):\n    version = 1\n")
    preset = tmp_path / "p.yaml"
    preset.write_text(yaml.safe_dump({"extends": "digits", "description": "x", "methods": [{"method": str(path)}]}))
    (row,) = load_preset(str(preset), ["methods.mine.per_task_bn=true"]).rows
    assert (row.label, row.settings.per_task_bn) == ("mine", True)


def test_an_attack_may_ask_for_float32_whatever_precision_is_allowed():
    entry = {"attack": "pgd", "steps": 10, "step_size": "eps/4"}
    (found,) = demands([entry | {"precision": "float32"}], Fraction(1, 5), "evaluation.final")
    (usual,) = demands([entry], Fraction(1, 5), "evaluation.final")
    assert found.attack.kind == "float32"
    assert found.attack.made_with == usual.attack
    with pytest.raises(
        ConfigError, match=r"final\[0\].precision = 'bf16': float32 is the one that an attack alone can ask"
    ):
        demands([entry | {"precision": "bf16"}], Fraction(1, 5), "evaluation.final")
    with pytest.raises(ConfigError, match="an attack in float32 is written as that attack, with precision"):
        demands([{"attack": "float32"}], Fraction(1, 5), "evaluation.final")


def test_cifar100_is_the_full_comparison_cut_in_proportion() -> None:
    short, full = load_preset("cifar100"), load_preset("cifar100-full")
    share = Fraction(short.file.recipe.epochs, full.file.recipe.epochs)
    assert share == Fraction(30, 100)
    assert [row.label for row in short.rows] == [row.label for row in full.rows]
    assert {demand.attack for demand in short.final} == {demand.attack for demand in full.final}
    assert {demand.attack for demand in short.transfers} == {demand.attack for demand in full.transfers}
    assert {demand.samples for demand in [*full.final, *full.transfers]} == {None}, "every attack on every image"
    whole = {demand.attack.name for demand in short.final if demand.samples is None}
    assert whole == {"clean", "pgd-10 linf 8/255 a=2/255", "pgd-40 linf 8/255 a=2/255", "autoattack linf 8/255"}
    assert {demand.samples for demand in short.final} == {None, 100}
    stages = ("retrain_epochs", "prune_epochs", "prune_cut_epochs", "retrain_patience", "ratios", "mu_max")
    cut, published = ({r.label: r.settings.model_dump() for r in preset.rows} for preset in (short, full))
    for name in stages[:4]:
        assert cut["cmat"][name] == round(share * published["cmat"][name]), name
    assert all(cut["cmat"][name] == published["cmat"][name] for name in stages[4:])
    assert cut["packnet"]["retrain_epochs"] == round(share * published["packnet"]["retrain_epochs"])
