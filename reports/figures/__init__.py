"""Figures: one file each, and the style, panels and placing that they share."""
