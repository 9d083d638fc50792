"""
optipfair (https://github.com/peremartra/optipfair) as installed: FFN neurons, the same number in every layer (`method`
MAW, VOW, PON or L2; MAW also `calibrated`), or whole layers, those of the least importance by its
`analyze_layer_importance`: 1 - the mean cosine of a layer's input and output, ShortGPT's block influence
(arXiv 2403.03853).
"""

import logging

import optipfair
from torch.utils.data import DataLoader, TensorDataset

from model import all_windows

BATCH = 2
# Optipfair logs every step.
logging.disable(logging.INFO)


def prune(context, options, fraction):
    model = context.fresh()
    # Without masks, since windows are whole. Calibration does without the head, whose logits would be large.
    batches = DataLoader(TensorDataset(all_windows(context.calibration)), batch_size=BATCH)
    if options["method"] == "layers":
        if "importance" not in context.kept:
            found = optipfair.analyze_layer_importance(model.model, batches, show_progress=False)
            context.kept["importance"] = found
        importance = context.kept["importance"]
        count = int(fraction * len(importance))
        least = sorted(sorted(importance, key=importance.get)[:count])
        return optipfair.prune_model(model, "DEPTH", layer_indices=least, show_progress=False), {"layers": least}
    attention, ffn = context.layer_sizes()
    percentage = 100 * fraction * (attention + ffn) / ffn
    optipfair.prune_model(
        model.model,
        "MLP_GLU",
        neuron_selection_method=options["method"],
        pruning_percentage=percentage,
        dataloader=batches if options.get("calibrated") else None,
        show_progress=False,
    )
    return model, {"pruning_percentage": percentage}
