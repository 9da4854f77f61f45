"""Made-up facts of learning, of a run of three tasks."""

import json


def watched(*reached, apart=1.0):
    """A fact of each turn, the first of them with what was reached for."""
    texts = [*reached, *({} for _ in range(3 - len(reached)))]
    return [
        {"task": task, "phase": "learning", "name": "watched", "value": apart, "text": json.dumps(text)}
        for task, text in enumerate(texts)
    ]


def asked(clean, attacked, copies=((1, 38), (1, 38)), images=40, attack="pgd-10 linf 51/255 a=12.75/255"):
    """Answers of every task: right of `images` validation images; of test and validation images (lost, right)."""
    held_out = {"attack": attack, "images": images, "clean": clean, "attacked": attacked}
    lost = {"test": copies[0], "validation": copies[1]}
    return [
        {"task": task, "phase": "unseen", "name": name, "value": 0.0, "text": json.dumps(text)}
        for task in range(3)
        for name, text in (("validation", held_out), ("copies", lost))
    ]
