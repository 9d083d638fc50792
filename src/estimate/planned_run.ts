/** The facts of a run that its memory and time depend on, known before it starts. */
import { refits, type SettledConfig } from "../config.ts";
import type { ModelSpec } from "../model/spec.ts";
import { BATCH_WINDOWS, TRAINING_TOKENS } from "../recover/distill.ts";

/** A run whose memory and time are to be estimated. */
export interface PlannedRun {
  readonly spec: ModelSpec;
  readonly config: SettledConfig;
  /** Tokens of the calibration windows, all sets together; 0 without sets, and where nothing is learned from them. */
  readonly tokens: number;
  /** Tokens of the windows for least squares, likewise. */
  readonly refitTokens: number;
  /** Peak memory of tokenising a text, bytes; 0 where no text was read. */
  readonly encodingBytes: number;
  /** Whether there are held-out windows for the check. */
  readonly checks: boolean;
  /** Name of the allocation; `given` where an existing plan is applied. */
  readonly allocation: string;
  /** Whether the metric uses gradients. */
  readonly gradients: boolean;
  /** Whether the choice of removed units depends on the texts. */
  readonly decidesByText: boolean;
}

/** Whether statistics of activations are gathered: for scores, or for biases. */
export function hasStatistics({ decidesByText, config: { recover }, tokens }: PlannedRun): boolean {
  return tokens > 0 && (decidesByText || recover === "bias");
}

/** Whether output projections are refitted by least squares. */
export function refitsOutputs({ config: { recover }, tokens }: PlannedRun): boolean {
  return tokens > 0 && refits(recover);
}

/** Whether the dense model runs on texts, for statistics or moments. */
export function calibrates(run: PlannedRun): boolean {
  return hasStatistics(run) || refitsOutputs(run);
}

/** Whether the pruned model is trained. */
export function distills(run: PlannedRun): boolean {
  return refitsOutputs(run) && run.config.recover === "distill";
}

/** Whether the choice of units uses gradients: learned widths or a gradient metric. */
export function learns({ allocation, gradients, tokens }: PlannedRun): boolean {
  return tokens > 0 && (allocation === "learned" || gradients);
}

/** Whether learned widths are refined. */
export function refinesWidths(run: PlannedRun): boolean {
  return run.config.refine && run.allocation === "learned" && refitsOutputs(run);
}

/** Tokens that the dense model runs on in calibration, all sets together. */
export function measuredTokens(run: PlannedRun): number {
  return Math.max(hasStatistics(run) ? run.tokens : 0, refitsOutputs(run) ? run.refitTokens : 0);
}

/** Tokens of the windows whose gradients `rounds` learning rounds use, all sets together. */
export function roundTokens({ tokens, config }: PlannedRun, rounds: number): number {
  const { calibration, gradientWindows, samples, seqLen } = config;
  return Math.min(tokens, calibration.length * Math.min(rounds * gradientWindows, samples) * seqLen);
}

/** The run with the window length and count of one training step. */
export function withTrainingWindows(run: PlannedRun): PlannedRun {
  const seqLen = Math.min(run.config.seqLen, TRAINING_TOKENS);
  return { ...run, config: { ...run.config, seqLen, samples: BATCH_WINDOWS } };
}
