/** The state of a training run between steps, and its snapshot. */
import type { Tensor } from "../tensor/tensor.ts";
import type { AdamMoments, AdamW } from "./adamw.ts";

/** Losses of one step, measured before it changed the weights, and its learning rate. */
export interface TrainingStep {
  /** From 1. */
  readonly step: number;
  /** KL divergence from the dense model, nats per token. */
  readonly divergence: number;
  /**
   * Mean over layers and tokens of the Huber loss of the hidden states' relative distance d: d^2 up to 1, 2 d - 1
   * beyond.
   */
  readonly hidden: number;
  readonly learningRate: number;
}

/** Weights, optimiser and loss curve of a training run. */
export interface TrainingState {
  /** Weights in training, changed in place. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly optimizer: AdamW;
  readonly curve: TrainingStep[];
}

/** A training state as plain values. */
export interface TrainingSnapshot {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly moments: ReadonlyMap<string, AdamMoments>;
  readonly curve: readonly TrainingStep[];
}

/** A view of the state, which changes with it. */
export function snapshotOf({ tensors, optimizer, curve }: TrainingState): TrainingSnapshot {
  return { tensors, moments: optimizer.moments, curve };
}

/** Brings a state before its first step to that of the snapshot. */
export function restoreSnapshot(
  { tensors, optimizer, curve }: TrainingState,
  snapshot: TrainingSnapshot,
): void {
  for (const [name, { data }] of snapshot.tensors) tensors.get(name)!.data.set(data);
  for (const [name, moments] of snapshot.moments) optimizer.moments.set(name, moments);
  for (const step of snapshot.curve) curve.push(step);
}
