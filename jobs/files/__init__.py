"""Files as they come and go: atomic writes, digests, YAML documents, buckets, and what is kept alike in both."""
