"""Planted defects of an adversary who has read the documentation of the checks, each in several variants and strengths."""

from __future__ import annotations

from tests.defects.defect import AFRESH, INSIDE, KEPT, PEEKED, UNTRUE, PlantedDefect, series

ADVERSARIES: list[PlantedDefect] = [
    *series(
        "input purified, gradient of its own",
        INSIDE,
        "gradients/purified",
        {
            "likely value of each pixel": {},
            "likely value, half of the pixels": {"strength": 0.5},
            "likely value, smooth backward": {"backward": "smooth"},
            "likely value, gradient at the image as it came": {"backward": "of the image as it came"},
            "points of the faces": {"by": "faces"},
            "points of the faces, half of the pixels": {"by": "faces", "strength": 0.5},
            "points of the faces, gradient at the image as it came": {
                "by": "faces",
                "backward": "of the image as it came",
            },
            "lattice of 2 eps": {"by": "lattice"},
            "nearest training image": {"by": "nearest image"},
            "nearest of 8 training images a class": {"by": "nearest image", "images": 8},
            "nearest training image, gradient at the image as it came": {
                "by": "nearest image",
                "backward": "of the image as it came",
            },
        },
    ),
    *series(
        "memory of what it was asked",
        AFRESH,
        "memory/remembering",
        {
            "in a dict": {},
            **{
                f"in a {where}": {"where": where}
                for where in ("list", "deque", "class", "global", "closure", "default", "function", "tensor")
            },
            "in another module": {"where": "another module"},
            "of half of the images": {"strength": 0.5},
            "of a quarter of the images": {"strength": 0.25},
            "answers within nine tenths of eps": {"radius": 0.9},
            "undefended networks": {"undefended": True},
            "undefended networks, half of the images": {"undefended": True, "strength": 0.5},
        },
    ),
    *series(
        "trained on test images",
        PEEKED,
        "learning/trained_on_test",
        {
            "through the package": {},
            "through scikit-learn's loader": {"source": "loader"},
            "from the data set's file": {"source": "file"},
            "from the file, by another process": {"source": "another process"},
            "from the frames of the process": {"source": "frames"},
            "from the objects of the process": {"source": "gc"},
            "read before the first task": {"reads": "in begin"},
            "half of them": {"strength": 0.5},
            "a quarter of them": {"strength": 0.25},
            "and on validation images": {"validation": True},
        },
    ),
    # Nothing is opened, and the networks gain on validation images too: on few images no statistic tells them apart.
    *series(
        "trained on test images written in the code",
        PEEKED,
        "learning/images_in_code",
        {"all": {}, "half of them": {"strength": 0.5}, "a quarter of them": {"strength": 0.25}},
    ),
    *series(
        "table of test images",
        PEEKED,
        "learning/table_of_test_images",
        {
            "whole": {},
            "half of them": {"strength": 0.5},
            "from the file": {"source": "file"},
            "from the objects of the process": {"source": "gc"},
            "answers within nine tenths of eps": {"radius": 0.9},
        },
    ),
    *series(
        "copies outside the state",
        KEPT,
        "learning/copies_elsewhere",
        {
            "in the temporary folder": {},
            "in the home folder": {"where": "home"},
            "in the working directory": {"where": "working directory"},
            "beside the plug-in": {"where": "beside the plug-in"},
            "in the run's folder": {"where": "the run's folder"},
            "beside the checkpoints": {"where": "checkpoints"},
            "in a Python file": {"where": "Python file"},
            "in the environment": {"where": "environment"},
            "in shared memory": {"where": "shared memory"},
            "behind a socket": {"where": "a socket"},
            "in the temporary folder, state moved by a half": {"strength": 0.5},
        },
    ),
    *series(
        "gradient of another network",
        UNTRUE,
        "gradients/foreign_gradient",
        {
            "undefended": {},
            "undefended, by a half": {"strength": 0.5},
            "undefended, by a quarter": {"strength": 0.25},
            "undefended, but honest in float64": {"honest": "in float64"},
            "undefended, for attacks alone": {"honest": "outside attacks"},
            "twin, for attacks alone": {"of": "twin", "honest": "outside attacks"},
            "twin": {"of": "twin"},
            "twin, by a half": {"of": "twin", "strength": 0.5},
            "few epochs": {"of": "few epochs"},
            "untrained": {"of": "untrained"},
            "moved weights": {"of": "moved weights"},
        },
    ),
    *series(
        "gradient stopped inside",
        UNTRUE,
        "gradients/cut_inside",
        {
            "at 95% of the channels": {"strength": 0.95},
            "at half of the channels": {"strength": 0.5},
            "at a quarter of the channels": {"strength": 0.25},
            "at 95% of the features": {"of": "features", "strength": 0.95},
            "at half of the features": {"of": "features", "strength": 0.5},
            "at a quarter of the features": {"of": "features", "strength": 0.25},
            "at half of the first filters": {"of": "filters", "strength": 0.5},
            "at a quarter of the first filters": {"of": "filters", "strength": 0.25},
            "at half of every layer": {"of": "layers", "strength": 0.5},
            "at a quarter of every layer": {"of": "layers", "strength": 0.25},
            "at 90% of every layer": {"of": "layers", "strength": 0.9},
            "at other half of the pixels in every image": {"of": "pixels", "strength": 0.5},
            "at another quarter of the pixels in every image": {"of": "pixels", "strength": 0.25},
        },
    ),
]
