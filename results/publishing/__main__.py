"""`python -m results.publishing PRESET`."""

import sys

from results.publishing.published import main

sys.exit(main())
