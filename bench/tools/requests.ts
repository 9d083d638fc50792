/**
 * The tools with their settings, and what peer.py is asked and answers. A tool has a Python module in this directory,
 * which drives the tool's own code.
 */

/** Settings of a tool, under the name that the tables show. */
export interface Setting {
  readonly name: string;
  /** What the tool's module understands. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** A way in which a tool prunes. */
export interface Way {
  readonly name: string;
  /** Where the tool comes from. */
  readonly source: Source;
  /** What is removed, for the table. */
  readonly removes: string;
  /** Module of the tool; null for the dense model. */
  readonly module: string | null;
  /** Whether a setting needs gradients of the calibration windows. */
  readonly gradients: boolean;
  readonly settings: readonly Setting[];
}

/** `optipfair` is installed in Python; the others are checkouts. */
export type Source = "none" | "optipfair" | "torch-pruning" | "llm-pruner";

const torchPruning = (importance: string, heads: number, scope: "local" | "global"): Setting => ({
  name: `${importance}, ${heads === 0 ? "neurons alone" : "one query head of each group"}, ${scope}`,
  options: { importance, heads, scope },
});

const llmPruner = (
  importance: string,
  spared: readonly number[],
  { scope = "local", attention = true }: { readonly scope?: string; readonly attention?: boolean } = {},
): Setting => ({
  name:
    `${importance}, ${attention ? "" : "neurons alone, "}` +
    `without the first ${spared[0]} and last ${spared[1]} layers, ${scope}`,
  options: { importance, spared, scope, attention },
});

export const DENSE: Way = {
  name: "dense",
  source: "none",
  removes: "nothing",
  module: null,
  gradients: false,
  settings: [{ name: "dense", options: {} }],
};

/** In the order in which they run. */
export const WAYS: readonly Way[] = [
  {
    name: "optipfair, MLP_GLU",
    source: "optipfair",
    removes: "FFN neurons, the same number in every layer",
    module: "optipfair_tool",
    gradients: false,
    settings: [
      ...["MAW", "VOW", "PON", "L2"].map((method) => ({ name: method, options: { method } })),
      { name: "MAW with activations", options: { method: "MAW", calibrated: true } },
    ],
  },
  {
    name: "optipfair, DEPTH",
    source: "optipfair",
    removes: "whole layers of least block influence",
    module: "optipfair_tool",
    gradients: false,
    settings: [{ name: "least important layers", options: { method: "layers" } }],
  },
  {
    name: "LLM-Pruner, block-wise",
    source: "llm-pruner",
    removes: "FFN neurons, with or without KV groups, not in the first and last layers",
    module: "llm_pruner_tool",
    gradients: true,
    settings: [
      llmPruner("param_first", [4, 2]),
      llmPruner("param_first", [3, 1]),
      llmPruner("param_first", [3, 1], { attention: false }),
      llmPruner("vectorize", [3, 1], { attention: false }),
      llmPruner("param_first", [3, 1], { scope: "global" }),
      llmPruner("l2", [3, 1]),
    ],
  },
  {
    name: "Torch-Pruning",
    source: "torch-pruning",
    removes: "FFN neurons, with or without query heads",
    module: "torch_pruning_tool",
    gradients: true,
    settings: [
      torchPruning("magnitude", 1, "local"),
      torchPruning("taylor", 1, "local"),
      torchPruning("taylor", 0, "local"),
      torchPruning("taylor", 0, "global"),
    ],
  },
  {
    name: "Torch-Pruning, its example",
    source: "torch-pruning",
    removes: "hidden channels, query heads and FFN neurons",
    module: "torch_pruning_tool",
    gradients: false,
    settings: [{ name: "magnitude, local", options: { hidden: true } }],
  },
];

/** Contents of a request file. */
export interface Request {
  readonly module: string | null;
  /** A Hugging Face directory. */
  readonly model: string;
  /** Paths of files with windows of token ids by set. */
  readonly calibration: string;
  readonly evaluation: string;
  /** Path of the file of gradients.py; null when no setting needs it. */
  readonly gradients: string | null;
  readonly settings: readonly Setting[];
  /** Fractions of attention and FFN parameters to remove. */
  readonly fractions: readonly number[];
  /** Windows of each text on which the best setting is chosen. */
  readonly screen: number;
  /** Path of the file for the answers, which is written after every fraction. */
  readonly answers: string;
}

/** A setting's result at one fraction. */
export interface Tried {
  readonly setting: string;
  /** Fraction of attention and FFN parameters that the model lacks. */
  readonly removed: number;
  /** What the tool was called with. */
  readonly note: Readonly<Record<string, unknown>>;
  /** Geometric mean of the perplexities on the first windows; null where there is one setting. */
  readonly screened: number | null;
}

/** The best setting's result at one fraction. */
export interface Answer extends Tried {
  /** The fraction asked for. */
  readonly fraction: number;
  /** Perplexity by text. */
  readonly ppl: Readonly<Record<string, number>>;
  readonly geometricMean: number;
  readonly tried: readonly Tried[];
}
