"""Streams of tasks. One file per scenario; its file name is its name on the command line."""
