"""What is sent to hosts: stdlib only, Python 3.10 or later. Nothing here may import the rest of Rackhand.

Modules that only a change or a failure needs are imported where they are used: the agent starts with every run.
"""
