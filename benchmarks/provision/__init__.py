"""The same job done by Rackhand, by its peers, and by a hand-written script, next to each other."""
