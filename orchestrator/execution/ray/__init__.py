"""The loop's executor on Ray: banks, searches and warm workers."""
