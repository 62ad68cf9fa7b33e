"""The numbers of a finished campaign, without words."""
