"""
Prunes a model by fractions of its attention and FFN parameters with each of a tool's settings, and evaluates the best
of them; see requests.ts.

    python peer.py REQUEST.json
"""

import copy
import importlib
import json
import math
import sys

from model import attach_gradients, load, perplexities, projection_parameters, projections, windows

# The best setting is one that removes at most this much less than asked; if there is none, any.
TOO_LITTLE = 0.01


class Context:
    """What a tool gets to see. `calibration` is the path of the calibration windows."""

    def __init__(self, request):
        self.dense = load(request["model"])
        self.calibration = request["calibration"]
        self.gradients = request["gradients"]
        self.parameters = projection_parameters(self.dense)
        # For what a tool's module can use again.
        self.kept = {}

    def fresh(self):
        """A copy of the dense model, with gradients where settings need them."""
        model = copy.deepcopy(self.dense)
        if self.gradients is not None:
            attach_gradients(model, self.gradients)
        return model

    def removed(self, model):
        """Fraction of attention and FFN parameters that a model lacks."""
        return 1 - projection_parameters(model) / self.parameters

    def layer_sizes(self):
        """Parameters of attention and of the FFN in a layer."""
        sizes = {".self_attn.": 0, ".mlp.": 0}
        for name, value in projections(self.dense):
            for kind in sizes:
                sizes[kind] += value.numel() if kind in name else 0
        return [size // len(self.dense.model.layers) for size in sizes.values()]


def geometric_mean(ppl):
    return math.exp(sum(math.log(value) for value in ppl.values()) / len(ppl))


def answer(context, request, fraction):
    """Tries several settings at one fraction on the first windows of each text, and evaluates the best on all."""
    texts = windows(request["evaluation"])
    few = {name: rows[: request["screen"]] for name, rows in texts.items()}
    tried, best = [], None
    for setting in request["settings"]:
        if request["module"] is None:
            model, note = context.dense, {}
        else:
            model, note = importlib.import_module(request["module"]).prune(context, setting["options"], fraction)
        removed = context.removed(model)
        screened = geometric_mean(perplexities(model, few)) if len(request["settings"]) > 1 else None
        print(f"{fraction} {setting['name']}: {removed:.4f} removed, {screened}", file=sys.stderr, flush=True)
        tried.append({"setting": setting["name"], "removed": removed, "note": note, "screened": screened})
        rank = (removed < fraction - TOO_LITTLE, screened or 0)
        if best is None or rank < best[0]:
            best = (rank, tried[-1], model)
    _, chosen, model = best
    ppl = perplexities(model, texts)
    return {**chosen, "fraction": fraction, "ppl": ppl, "geometricMean": geometric_mean(ppl), "tried": tried}


def main(path):
    with open(path) as file:
        request = json.load(file)
    context = Context(request)
    answers = []
    for fraction in request["fractions"]:
        answers.append(answer(context, request, fraction))
        with open(request["answers"], "w") as file:
            json.dump(answers, file)


if __name__ == "__main__":
    main(sys.argv[1])
