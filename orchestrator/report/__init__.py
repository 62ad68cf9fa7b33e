"""Results in words: the page, its Markdown, and the terminal's table."""
