"""Common parts of the client programs in Python, as program.ts has them for those in JavaScript."""

import json
import sys


def answer_cases(answer):
    """Answers every case of the list at the first path of the arguments, one line each in the file at the second."""
    cases, answers = sys.argv[1:]
    with open(cases) as file:
        requests = json.load(file)
    for case in requests:
        try:
            line = answer(case)
        except Exception as error:
            line = {"id": case["id"], "error": f"{type(error).__name__}: {error}"}
        with open(answers, "a") as file:
            file.write(json.dumps(line) + "\n")
