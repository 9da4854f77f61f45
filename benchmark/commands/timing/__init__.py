"""The command `time`: throughput on this machine."""
