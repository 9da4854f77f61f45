#!/usr/bin/env python
# PYTHON_ARGCOMPLETE_OK
"""The benchmark of continual adversarial defenses: `python run_benchmark.py --help`."""

import sys

from benchmark.cli import main

if __name__ == "__main__":
    sys.exit(main())
