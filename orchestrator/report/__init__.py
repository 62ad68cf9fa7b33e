"""Results in words: the page, its Markdown, the terminal's table, and the numbers as JSON."""
