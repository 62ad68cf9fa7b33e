"""Texts and rows tokenized once, kept on disk, batched and streamed."""
