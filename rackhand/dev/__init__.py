"""Applications on the machine that one sits at, while they are written."""
