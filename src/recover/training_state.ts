/** What a training run remembers from step to step. */
import type { Tensor } from "../tensor/tensor.ts";
import type { AdamMoments, AdamW } from "./adamw.ts";

/** What one step measured before it changed the weights. */
export interface TrainingStep {
  /** From 1. */
  readonly step: number;
  /** KL divergence from the dense model, nats per token. */
  readonly divergence: number;
  /**
   * Mean over layers and tokens of the hidden states' loss: Huber's of the relative distance d, d^2 up to 1, from there
   * 2 d - 1.
   */
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

/** The same as plain values. */
export interface TrainingSnapshot {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly moments: ReadonlyMap<string, AdamMoments>;
  readonly curve: readonly TrainingStep[];
}

/** A view of the state: it changes when the state does. */
export function snapshotOf({ tensors, optimizer, curve }: TrainingState): TrainingSnapshot {
  return { tensors, moments: optimizer.moments, curve };
}

/** Brings a state that has not made a step yet to where the snapshot was taken. */
export function restoreSnapshot(
  { tensors, optimizer, curve }: TrainingState,
  snapshot: TrainingSnapshot,
): void {
  for (const [name, { data }] of snapshot.tensors) tensors.get(name)!.data.set(data);
  for (const [name, moments] of snapshot.moments) optimizer.moments.set(name, moments);
  for (const step of snapshot.curve) curve.push(step);
}
