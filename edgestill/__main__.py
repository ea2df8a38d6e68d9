# PYTHON_ARGCOMPLETE_OK
"""``python -m edgestill`` is the same as ``edgestill``."""

from edgestill.cli.main import run

if __name__ == "__main__":
    run()
