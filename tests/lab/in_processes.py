"""Rackhand's own command line with a process for each of the first hosts: `python -m tests.lab.in_processes deploy …`.

For so few hosts, or on a single core, it would take none.
"""

import os
import sys

from rackhand import cli, fleet

if __name__ == "__main__":
    fleet.HOSTS_PER_PROCESS = 1
    os.sched_getaffinity = lambda _: {0, 1}
    sys.argv[0] = "invoke"
    cli.main()
