"""``python -m tuwen`` is ``tuwen``."""

from tuwen.cli.app import main

main()
