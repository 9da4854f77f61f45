"""The report of `tune`: the rows of a preset at every point of a grid, by what they get right of the validation images."""
