"""`python -m orchestrator` is the command line."""

from orchestrator.cli.app import main

main()
