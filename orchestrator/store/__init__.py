"""Finished steps by content address, on disk or in a bucket."""
