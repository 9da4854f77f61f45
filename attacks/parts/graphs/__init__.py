"""CUDA graphs: one recording, and the graphs of classifiers that are made where a shape comes again."""
