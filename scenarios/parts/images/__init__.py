"""Labelled images that lie on disk, read to the same arrays from trees of folders and from parquet files."""
