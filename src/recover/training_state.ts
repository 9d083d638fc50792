/** What a training run remembers from step to step. */
import type { Tensor } from "../tensor/tensor.ts";
import type { AdamW } from "./adamw.ts";

/** What one step measured before it changed the weights. */
export interface TrainingStep {
  /** From 1. */
  readonly step: number;
  /** KL divergence from the dense model, nats per token. */
  readonly divergence: number;
  /** Mean relative squared error of the hidden states over layers and tokens. */
  readonly hidden: number;
  readonly learningRate: number;
}

/** All that a run has to remember. */
export interface TrainingState {
  /** Weights in training, changed in place. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly optimizer: AdamW;
  readonly curve: TrainingStep[];
}
