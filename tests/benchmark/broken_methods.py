"""Methods that each break one thing, as source for the tests to write to disk, with what `check` must say of them.

Each entry: source, then regular expressions, one for every line that must say FAIL, in their order; no other may. Those whose
classifiers are broken have a file of their own.
"""

from __future__ import annotations

from tests.benchmark.broken_classifiers import CLASSIFIERS, SELECTED, method

LEARNING: dict[str, tuple[str, list[str]]] = {
    "version": (method("    version = 0\n"), [r"Mine.version is 0: a whole number from 1 on"]),
    "docstring": (
        method("").replace('    "A method of a third party."\n', ""),
        [r"Mine has no docstring: write one whose first line"],
    ),
    "other settings": (
        method("    class Settings:\n        pass\n"),
        [r"Mine.Settings is 'Settings': a class that extends MethodSettings"],
    ),
    "loose settings": (
        method("    class Settings(MadryAT.Settings, extra='ignore'):\n        pass\n"),
        [r"Settings takes settings it does not know.*leave `model_config`"],
    ),
    "a default out of range": (
        method(
            "    class Settings(MadryAT.Settings):\n"
            "        from pydantic import Field\n"
            "        share: float = Field(1.5, le=1)\n"
        ),
        [r"the defaults of Settings are not valid: share = 1.5: Input should be less than or equal to 1"],
    ),
    "no default": (
        method("    class Settings(MadryAT.Settings):\n        share: float\n"),
        [r"no settings by default \(.*share: missing\): give every setting a default"],
    ),
    "an unknown need": (
        method("    needs = frozenset({'all_task'})\n"),
        [r"needs holds 'all_task': a known word; did you mean 'all_tasks'"],
    ),
    "claims as text": (
        method("    claims = 'unforgetting'\n"),
        [r"claims is 'unforgetting': a frozenset of words"],
    ),
    "an unknown requirement": (
        method("    @classmethod\n    def requires(cls, settings):\n        return [RunSpec('single_task')]\n"),
        [r"cannot be planned: method 'single_task' is not known.*: require methods and settings that exist"],
    ),
    "no epochs": (
        method("    @classmethod\n    def epochs(cls, settings, recipe):\n        return 0\n"),
        [r"epochs\(\) is 0: a number above 0"],
    ),
    "raises": (
        method(
            "    def learn(self, task, context):\n"
            "        if task.id == 1:\n"
            "            raise RuntimeError('planted\\nfailure')\n"
            "        super().learn(task, context)\n"
        ),
        [r"raises RuntimeError: planted failure, while learning task 1: see mine.py, line 3\d$"],
    ),
    "exits": (
        method("    def learn(self, task, context):\n        raise SystemExit(5)\n"),
        [r"raises SystemExit: 5, while learning task 0: see mine.py, line 3\d$"],
    ),
    "a state that is no state": (
        method(
            "    def state(self):\n        return State(super().state().tensors, {'batch_norms': torch.zeros(3)})\n"
        ),
        [r"its state cannot be stored: raises TypeError.*Tensor.*: state\(\) gives State"],
    ),
    "forgets its heads": (
        method(
            "    def state(self):\n"
            "        state = super().state()\n"
            "        return State({n: t for n, t in state.tensors.items() if 'heads' not in n}, state.values)\n"
            "    def load_state(self, state):\n"
            "        self.network.load_state_dict(state.under('network.'), strict=False)\n"
            "        self.batch_norms = {}\n"
        ),
        [
            r"a fresh instance with the stored state hands out another classifier\(0\) \(head.*: state\(\) must hold everything",
            r"after a kill before task 1 it goes on to other classifiers than in one go \(classifier\(0\): head",
        ],
    ),
    "cannot take its state": (
        method("    def load_state(self, state):\n        self.network.load_state_dict({})\n"),
        [
            r"raises RuntimeError: Error\(s\) in loading state_dict.*: see mine.py, line 3\d$",
        ]
        * 3,
    ),
    "a memory that the state lacks": (
        method(
            "    def begin(self, stream, context):\n"
            "        super().begin(stream, context)\n"
            "        self.seen = 0\n"
            "    def learn(self, task, context):\n"
            "        self.seen += 1\n"
            "        recipe = context.recipe.model_copy(update={'learning_rate': 0.05 / self.seen})\n"
            "        fit = Fit(self.network, list(self.network.parameters()),\n"
            "                  lambda: context.validate(self.network.for_task(task.id), task),\n"
            "                  logits=lambda batch: self.network.for_task(task.id))\n"
            "        context.train(fit, [task], recipe=recipe)\n"
        ),
        [
            r"after a kill before task 1 it goes on to other classifiers than in one go .*: state\(\) must hold everything"
        ],
    ),
    "counts its instances": (
        method(
            "    made = [0]\n"
            "    def begin(self, stream, context):\n"
            "        super().begin(stream, context)\n"
            "        self.made[0] += 1\n"
            "        with torch.no_grad():\n"
            "            self.network.backbone.layers[0].weight.add_(0.001 * self.made[0])\n"
        ),
        [r"the same seed learns something else the second time \(classifier\(0\): .*\): nothing may be left over"],
    ),
    "global random numbers of torch": (
        method(
            "    def begin(self, stream, context):\n"
            "        super().begin(stream, context)\n"
            "        with torch.no_grad():\n"
            "            self.network.backbone.layers[0].weight.add_(0.01 * torch.randn(()))\n"
        ),
        [r"depends on global random numbers \(classifier\(0\): .*\): draw from context.rng"],
    ),
    "global random numbers of numpy": (
        method(
            "    def begin(self, stream, context):\n"
            "        super().begin(stream, context)\n"
            "        with torch.no_grad():\n"
            "            self.network.backbone.layers[0].weight.add_(0.01 * np.random.randn())\n"
        ),
        [r"depends on global random numbers"],
    ),
    "seeds everything": (
        method(
            "    def begin(self, stream, context):\n        torch.manual_seed(0)\n        super().begin(stream, context)\n"
        ),
        [r"seeds the global generator \(torch.manual_seed\): draw from context.rng"],
    ),
    "trains on test images": (
        method(
            "    def learn(self, task, context):\n"
            "        from scenarios.digits import Digits\n"
            "        test = Digits(Digits.Settings()).load()[task.id].test\n"
            "        super().learn(replace(task, train=test), context)\n"
        ),
        [r"it gets at test images: with others in the stream it learns something else .*: learn from task.train"],
    ),
    "trains on test images of the preset": (
        method(
            "    def learn(self, task, context):\n"
            "        from scenarios.base import SourceOptions\n"
            "        test = context.job.preset.scenario(SourceOptions()).load()[task.id].test\n"
            "        super().learn(replace(task, validation=test), context)\n"
        ),
        [SELECTED, r"it gets at test images"],
    ),
    "no seed": (
        method(
            "    def learn(self, task, context):\n"
            "        generator = torch.Generator().manual_seed(task.id)\n"
            "        with torch.no_grad():\n"
            "            for parameter in self.network.for_task(task.id).parameters():\n"
            "                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))\n"
            "        found = context.validate(self.network.for_task(task.id).eval(), task)\n"
            "        context.facts.record('selected_clean', found.clean)\n"
            "        context.facts.record('selected_robust', found.robust)\n"
        ),
        [r"another seed learns the same classifiers: initialise with context.network"],
    ),
    "writes to the images it is given": (
        method(
            "    def learn(self, task, context):\n"
            "        super().learn(task, context)\n"
            "        task.train.images.fill_(0)\n"
        ),
        [r"learning changes train.images of task 0: what is given is shared by all methods"],
    ),
    "changes a global setting": (
        method(
            "    def learn(self, task, context):\n"
            "        super().learn(task, context)\n"
            "        torch.set_float32_matmul_precision('high')\n"
        ),
        [r"learning leaves torch.set_float32_matmul_precision changed: change global settings not at all"],
    ),
    "changes what it selected": (
        method(
            "    def learn(self, task, context):\n"
            "        super().learn(task, context)\n"
            "        with torch.no_grad():\n"
            "            self.network.heads[task.id].bias.add_(torch.tensor([50.0, 0.0]))\n"
        ),
        [
            r"it selected by clean validation accuracy .*, but its classifier has .*: hand out the network that was selected"
        ],
    ),
    "does not say what it selected": (
        method(
            "    def learn(self, task, context):\n"
            "        with torch.no_grad():\n"
            "            for parameter in self.network.for_task(task.id).parameters():\n"
            "                generator = context.rng(task.id, 'own', 'weights')\n"
            "                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))\n"
        ),
        [r"does not say which validation accuracy it selected by: train with context.train"],
    ),
    "claims what is not so": (
        method("    claims = frozenset({'unforgetting'})\n"),
        [r"it claims 'unforgetting', but .* classifier\(0\) is another one .*\(backbone.*\): take the claim back"],
    ),
    "claims what only a copy shows": (
        method(
            "    claims = frozenset({'unforgetting'})\n"
            "    def begin(self, stream, context):\n"
            "        super().begin(stream, context)\n"
            "        self.copies = {}\n"
            "    def classifier(self, task):\n"
            "        return copy.deepcopy(self.copies.setdefault(task, super().classifier(task)))\n"
        ),
        [
            r"a fresh instance with the stored state hands out another classifier\(0\)",
            r"it claims 'unforgetting'",
            r"goes on to",
        ],
    ),
}

METHODS = {**LEARNING, **CLASSIFIERS}
