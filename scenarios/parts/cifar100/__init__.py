"""CIFAR-100 on disk: its classes, and a reader for each of the layouts in which it lies there."""
