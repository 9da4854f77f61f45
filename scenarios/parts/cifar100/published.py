"""The fingerprints of the published images of CIFAR-100: a copy with one other pixel is another data set.

Measured over the complete data set, 50,000 training and 10,000 test images; lossless copies of any layout have them. Images that
were saved again with loss, such as JPEG, have others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from scenarios.base import RawTask

FINGERPRINTS: dict[str, str] = {
    "aquatic_mammals": "bce3702bcf038e112e274d09ca64573d15b3d44a6ff4982779f00c3b6129fb93",
    "fish": "c11c80a8cea3b1238bff5902407a2d72a74ea038f9b215edbc49c442783d4234",
    "flowers": "c99c9d93cdcdd267ff26bbcafd8febdb672a5c7518382bec514e170879b5b859",
    "food_containers": "eab203601e34a3a70ac6911c9ce5c490649c4dccb3424e3b3a97abf557954974",
    "fruit_and_vegetables": "94777803381c8bb9de5e7e963742e55f60558e96f14b8787adf32b6c6438f32a",
    "household_electrical_devices": "a690cdcd16db49ae10ccf6b9df7b0fdaa6f71c1d9c2fcf4f6779493f4288a6a6",
    "household_furniture": "44aca421aa589670c82493c6bc87936ad4067dcee87b67fc8a0644d39ed58a71",
    "insects": "295d3fb351d9bbd194f9b298c08949f5443098c76c9413ab433f90e4d0986e45",
    "large_carnivores": "9c962fed498aea07d8c97b83c87e73c48b4aba6c922b7804cc1ca5ffe461ebd8",
    "large_man-made_outdoor_things": "8e0054bfe929a20666d336fbc5efb3332b2cfef2765ac1287a2311efc3355e63",
    "large_natural_outdoor_scenes": "227764e18dcd5942d4e513a95b5cf0ed1e48f3e8221ed9f7d8d28f0fa347b93f",
    "large_omnivores_and_herbivores": "4c62e27c56f0a1beded96464290beaa0253e97cf184d0e66b3b1a321f6a5d8c1",
    "medium_mammals": "e920602404ed202d5bfacf28814cfb366ef97cc6cf8c402974a1038ddeb99781",
    "non-insect_invertebrates": "d9c9ca409f83c7e53e12b26ec579dedd74766b29ff36d99e7b1d3232171edf41",
    "people": "68193d669260576f5ef49191cb1868d62dbe24c31d57e55b45c8b2fe78e7ce86",
    "reptiles": "68f5575f3e8bc45136b0d5c0ded60b8ed76f23b31bdb032462e1c5f59b7751cd",
    "small_mammals": "a3e88c40210987e71a5bcfc7a750329a8be1b6fad8eb5a759017527bf7af56f3",
    "trees": "f2a156ae59a35c4a84f8179cd27e563669f93581d62d392a2a28bafc6905a18f",
    "vehicles_1": "fb81e7d84712505a67dd9f9005664df72d0a226cab678e81e6e3f8dd5b853f47",
    "vehicles_2": "10bb5d21fcebd520342f3f42db40c666d63e4cc9148b4fa8801804f278177089",
}
"""`RawTask.fingerprint` of each superclass."""

COMPLETE = "faaa817a9fb3b60cecde57ef35dd6d242085fbcedbd607e62695f17799249cc4"
"""SHA-256 over the twenty fingerprints in their order, one per line."""


def compared_with_published(tasks: Sequence[RawTask]) -> list[RawTask]:
    """Superclasses, each marked as published if its images and labels are; if any is not, the first such one says so."""
    found = [task.fingerprint() for task in tasks]
    others = [i for i, task in enumerate(tasks) if found[i] != FINGERPRINTS[task.name]]
    marked = [replace(task, published=i not in others) for i, task in enumerate(tasks)]
    if others:
        first = marked[others[0]]
        name = hashlib.sha256("\n".join(found).encode()).hexdigest()[:8]
        line = (
            f"task {first.name}: these are not the published images of CIFAR-100 ({len(others)} of {len(tasks)} superclasses "
            f"differ; saved again as JPEG?), but another data set ({name}), which is not compared with the published one"
        )
        marked[others[0]] = replace(first, warnings=(line, *first.warnings))
    return marked
