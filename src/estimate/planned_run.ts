/** What a run is to do, as far as memory and time go. */
import { refits, type SettledConfig } from "../config.ts";
import type { ModelSpec } from "../model/spec.ts";
import { BATCH_WINDOWS, TRAINING_TOKENS } from "../recover/distill.ts";

/** What a plan is made for. */
export interface PlannedRun {
  readonly spec: ModelSpec;
  readonly config: SettledConfig;
  /** Tokens of the calibration windows, all sets together; 0 without sets, and where nothing learns from them. */
  readonly tokens: number;
  /** Likewise of the windows for least squares. */
  readonly refitTokens: number;
  /** Bytes of memory that making tokens of a text took, at most; 0 where no text was read. */
  readonly encodingBytes: number;
  /** Whether there are windows for the check. */
  readonly checks: boolean;
  /** By name; `given` where a plan is carried out. */
  readonly allocation: string;
  /** Whether the metric looks at gradients. */
  readonly gradients: boolean;
  /** Whether which units go depends on the texts. */
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

/** Whether texts go through the dense model, for statistics or moments. */
export function calibrates(run: PlannedRun): boolean {
  return hasStatistics(run) || refitsOutputs(run);
}

/** Whether the pruned model is trained. */
export function distills(run: PlannedRun): boolean {
  return refitsOutputs(run) && run.config.recover === "distill";
}

/** Whether gradients decide. */
export function learns({ allocation, gradients, tokens }: PlannedRun): boolean {
  return tokens > 0 && (allocation === "learned" || gradients);
}

/** Whether learned widths are refined. */
export function refinesWidths(run: PlannedRun): boolean {
  return run.config.refine && run.allocation === "learned" && refitsOutputs(run);
}

/** Tokens that calibration sends through the dense model, all sets together. */
export function measuredTokens(run: PlannedRun): number {
  return Math.max(hasStatistics(run) ? run.tokens : 0, refitsOutputs(run) ? run.refitTokens : 0);
}

/** Tokens of the windows that so many rounds have gradients of, all sets together. */
export function roundTokens({ tokens, config }: PlannedRun, rounds: number): number {
  const { calibration, gradientWindows, samples, seqLen } = config;
  return Math.min(tokens, calibration.length * Math.min(rounds * gradientWindows, samples) * seqLen);
}

/** The run with the windows of a step of training, which has its own. */
export function withTrainingWindows(run: PlannedRun): PlannedRun {
  const seqLen = Math.min(run.config.seqLen, TRAINING_TOKENS);
  return { ...run, config: { ...run.config, seqLen, samples: BATCH_WINDOWS } };
}
