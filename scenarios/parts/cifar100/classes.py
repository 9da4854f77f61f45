"""The class names of CIFAR-100 as its `meta` file spells them, and the superclass of each.

Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009. Both label sets count in alphabetical order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SUPERCLASSES: dict[str, tuple[str, ...]] = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
MEAN = (0.5071, 0.4865, 0.4409)
STD = (0.2673, 0.2564, 0.2762)
"""Of each channel over the 50,000 training images, in units of [0, 1]; the customary constants."""

COARSE_NAMES: tuple[str, ...] = tuple(SUPERCLASSES)
FINE_NAMES: tuple[str, ...] = tuple(sorted(name for classes in SUPERCLASSES.values() for name in classes))
SUPERCLASS_OF: dict[str, str] = {name: coarse for coarse, classes in SUPERCLASSES.items() for name in classes}

COARSE_OF_FINE: NDArray[np.int64] = np.array([COARSE_NAMES.index(SUPERCLASS_OF[name]) for name in FINE_NAMES])
"""The coarse label of each fine label: int64 (100,)."""

WITHIN_OF_FINE: NDArray[np.int64] = np.array([SUPERCLASSES[SUPERCLASS_OF[name]].index(name) for name in FINE_NAMES])
"""The label 0..4 of each fine label within its superclass: int64 (100,)."""
