"""Backbones: images in [0, 1] to features, normalisation inside, a linear head per task on top.

A plug-in imports from here. `VERSION` is part of every run's identity: raise it whenever a backbone would compute or initialise
something else.
"""

from __future__ import annotations

from methods.backbones.base import Backbone, BatchNorm, GlobalAverage, Residual, batch_norm_state, load_batch_norm_state
from methods.backbones.choice import BackboneChoice
from methods.backbones.heads import MultiHead, TaskNetwork
from methods.backbones.initial import HEAD_STD, initialise
from methods.backbones.resnet import CifarResNet18, ResNet18, ResNet50
from methods.backbones.small_conv import SmallConv
from methods.backbones.timm_models import TimmBackbone
from methods.backbones.vgg import VGG16BN

__all__ = [
    "HEAD_STD",
    "VGG16BN",
    "Backbone",
    "BackboneChoice",
    "BatchNorm",
    "CifarResNet18",
    "GlobalAverage",
    "MultiHead",
    "ResNet18",
    "ResNet50",
    "Residual",
    "SmallConv",
    "TaskNetwork",
    "TimmBackbone",
    "batch_norm_state",
    "initialise",
    "load_batch_norm_state",
]

VERSION = 1
