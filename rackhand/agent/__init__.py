"""What is sent to hosts: stdlib only, Python 3.10 or later. Nothing here may import the rest of Rackhand."""
