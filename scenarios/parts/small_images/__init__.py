"""Published data sets of small images in classes, and a reader for each of the layouts in which they lie on disk."""
