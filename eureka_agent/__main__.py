"""`python -m eureka_agent` is `eureka`."""

import sys

from eureka_agent.cli import main

sys.exit(main())
