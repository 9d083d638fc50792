/**
 * Factors of muP (arXiv 2203.03466) on what the blocks of a layer read, compute and write, as in Falcon-H1
 * (modeling_falcon_h1.py), as JSON values.
 */

/** Those of attention and FFN. Biases are added before the factors on outputs. */
export interface BlockMultipliers {
  /** On what attention reads. */
  readonly attentionInput: number;
  readonly keys: number;
  readonly attentionOutput: number;
  /** On what gate_proj gives. */
  readonly gates: number;
  readonly ffnOutput: number;
}

/** Those of Mamba 2. */
export interface MixerMultipliers {
  /** On what it reads. */
  readonly input: number;
  /** On the parts of what in_proj gives: gates, values, keys, queries and steps. */
  readonly parts: readonly [gates: number, values: number, keys: number, queries: number, steps: number];
  readonly output: number;
}
