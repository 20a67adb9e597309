"""How a command ends. Hosts that failed and hosts that were not reached together are 6."""

FAILED = 2
UNREACHABLE = 4
BAD_INPUT = 5
INTERRUPTED = 99
