"""The Python that boxes and their supervisors are started with."""

from __future__ import annotations

import os
import sys

INTERPRETER = os.path.abspath(sys.executable)
"""This process's own, without `..`: a path may lead through folders that a walled box does not have. Links stay, as a
virtual environment's interpreter is one."""
