"""Commands of the first era's CLI, one a line, run in one process: to start Python and pandas for
each of them would take more time than all that they do.

Reads a JSON array of arguments per line; answers with an object of `stdout`, `stderr`, `code`.
"""

import contextlib
import io
import json
import sys

from openai import _openai_scripts


def run(arguments):
    sys.argv = ["openai", *arguments]
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            code = _openai_scripts.main()
        except SystemExit as left:
            code = left.code or 0
    return {"stdout": stdout.getvalue(), "stderr": stderr.getvalue(), "code": code}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
