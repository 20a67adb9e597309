"""What a Linux host is doing, read from /proc and handed to any number of clients."""
