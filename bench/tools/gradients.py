"""
Gradients of the calibration windows for the tools that rank by Taylor expansions, computed once for all of them, of
attention and FFN projections:

- `first`: of the mean loss of all windows, as `loss(all windows).backward()` gives it
- `second`: the mean over windows of the squared gradient of a window's loss, LLM-Pruner's `acc_grad`

    python gradients.py MODEL WINDOWS.json OUTPUT.pt
"""

import sys

import torch

from model import all_windows, hidden_states, load, projections, summed_losses


def backpropagate(model, ids):
    """Adds the gradients of a window's mean loss."""
    hidden = hidden_states(model, ids)
    leaf = hidden.detach().requires_grad_(True)
    for loss in summed_losses(model, leaf, ids):
        (loss / (len(ids) - 1)).backward()
    hidden.backward(leaf.grad)


def main(directory, path, output):
    model = load(directory).requires_grad_(False)
    rows = all_windows(path)
    named = projections(model)
    first = {name: torch.zeros_like(value) for name, value in named}
    second = {name: torch.zeros_like(value) for name, value in named}
    for _, value in named:
        value.requires_grad_(True)
    for ids in rows:
        backpropagate(model, ids)
        for name, value in named:
            first[name] += value.grad / len(rows)
            second[name] += value.grad**2 / len(rows)
            value.grad.zero_()
    torch.save({"first": first, "second": second}, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
