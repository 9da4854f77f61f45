"""Presets: the methods, data and attacks of a comparison, read from YAML files and validated, one clear line per mistake."""

from benchmark.planning.preset_files import available
from benchmark.planning.presets.file import MethodEntry, PresetFile
from benchmark.planning.presets.loading import load_preset
from benchmark.planning.presets.preset import Preset, PresetRow
from benchmark.planning.presets.validated import validated

__all__ = ["MethodEntry", "Preset", "PresetFile", "PresetRow", "available", "load_preset", "validated"]
