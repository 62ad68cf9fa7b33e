"""Adapter directories: what people have on disk, read and written."""
