"""Where an adapter came from, its card, and how it leaves."""
