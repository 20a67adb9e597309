"""Rackhand: from a bare host to Python applications served on port 80."""

from pathlib import Path

__version__ = "0.1.0"

#: The folder of tasks.py, roles/, templates/ and the default inventory/.
PROJECT = Path(__file__).resolve().parent.parent
