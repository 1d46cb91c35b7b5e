"""`python -m tunesmith`: the same as the `tunesmith` command."""

from tunesmith.cli.main import app

app()
