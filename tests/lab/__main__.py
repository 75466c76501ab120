"""`python -m tests.lab` installs the programs that the lab starts."""

import sys

from tests.lab.peers import main

sys.exit(main())
