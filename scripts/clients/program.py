"""What the client programs in Python have in common, as program.ts has it for those in JavaScript."""

import json
import sys


def answer_cases(answer):
    """Answers every case of the list whose path is the first argument, a line each in the file that is the second."""
    cases, answers = sys.argv[1:]
    with open(cases) as file:
        asked = json.load(file)
    for case in asked:
        try:
            line = answer(case)
        except Exception as error:
            line = {"id": case["id"], "error": f"{type(error).__name__}: {error}"}
        with open(answers, "a") as file:
            file.write(json.dumps(line) + "\n")
