"""Facts on classifiers that were made anew, for made-up runs."""

import json

from results.files import digest


def answers_of(attack, task, tasks, images=32, **said):
    """The fact on one attack of a made-up run. said: what its text says instead of the usual."""
    usual = {key: [] for key in ("changed", "lost", "moved", "order")}
    usual |= {"attack": attack.name, "answers_changed": 0, "answers_lost": 0, "off": 3e-7}
    evaluation = f"{attack.kind}{attack.steps}-{digest(attack.name)[:6]}-{tasks - 1}-{task}"
    text = usual | {"covers": [[attack.name, evaluation]]} | said
    return fact(task, "answers", images, json.dumps(text))


def afresh_facts(tasks, attacks, **said):
    """Facts on every task under these attacks. said: what the text of the last task's first attack says."""
    return [
        answers_of(attack, task, tasks, **(said if (task, place) == (tasks - 1, 0) else {}))
        for task in range(tasks)
        for place, attack in enumerate(attacks)
    ]


def reached(*names, phase="afresh", error=""):
    return fact(-1, "reached", 0.0, json.dumps({"reached": list(names), "error": error}), phase)


def fact(task, name, value, text, phase="afresh"):
    return {"task": task, "phase": phase, "name": name, "value": value, "text": text}
