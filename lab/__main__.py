"""`python -m lab` is the program ``trustlab``."""

from lab.cli.main import main

main()
