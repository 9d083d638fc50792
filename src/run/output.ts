/** The output of a run: the checkpoint, and documents about the run beside it. */
import { basename, join, resolve } from "node:path";
import { RUN_FILES } from "../base/file_names.ts";
import { isOwnText } from "../calibrate/text_sets.ts";
import {
  type CountingSettings,
  countingSettings,
  formatRunConfig,
  type RunConfig,
  type SettledConfig,
} from "../config.ts";
import { GpruneError } from "../errors.ts";
import { modelCard } from "../export/card.ts";
import { type ExportOptions, exportHuggingFace } from "../export/hf.ts";
import type { DeviceFound } from "../graph/runtime/device_check.ts";
import { kindOfPath } from "../io/files/file.ts";
import { differences } from "../io/files/json_difference.ts";
import { toJson } from "../io/files/json_document.ts";
import { isHubAddress, parseHubAddress } from "../io/hub/address.ts";
import { cardFields } from "../model/card_fields.ts";
import { openModel } from "../model/checkpoint/checkpoint.ts";
import { hfForm } from "../model/hf/form.ts";
import { CARD_FILE, type Model } from "../model/model.ts";
import type { PruningPlan } from "../prune/plan.ts";
import { formatPlan } from "../prune/plan_json.ts";
import type { TrainingStep } from "../recover/training_state.ts";
import { runDocuments } from "../report/run_documents.ts";
import { runRecord } from "../report/run_record.ts";
import { type FactsRecord, formatFacts, type RunFacts, recordedFacts } from "./facts.ts";
import { type Measurements, measurements, type PruneResult, type RunOutcome } from "./result.ts";

/** A run to be saved, and the options of its export. */
export interface SavedRun extends Pick<ExportOptions, "write" | "onProgress" | "maxShardBytes"> {
  readonly settings: SettledConfig;
  readonly model: Model;
  readonly started: Date;
  /** Everything that the bytes depend on. */
  readonly facts: RunFacts;
}

/** Results of a run that are saved beside the weights. */
export interface Findings {
  readonly plan: PruningPlan;
  /** The loss curve when the model was trained. */
  readonly curve: readonly TrainingStep[] | undefined;
  readonly outcome: RunOutcome;
  /** Measurements up to the call. */
  readonly measured: () => Measurements;
}

/** Writes the output. @returns the path of the report, or why there is none */
export async function saveRun(
  { settings, model, started, facts, ...options }: SavedRun,
  pruned: Model,
  { plan, curve, outcome, measured }: Findings,
): Promise<Pick<PruneResult, "report" | "report_problem">> {
  // Threads and memory belong to the machine and change no byte.
  const counting = countingSettings(settings);
  const config = { ...counting, threads: undefined, maxMemory: undefined };
  const hub = hubId(model, settings.model);
  const card = modelCard({
    ...settings,
    ...outcome,
    plan: settings.plan && lastName(settings.plan),
    heldOut: outcome.held_out,
    written: settings.calibration.filter(isOwnText).map(({ name }) => name),
    base: hub ?? lastName(settings.model),
    hub,
    inherited: cardFields(model.card),
    remoteCode: hfForm(pruned.spec).remoteCode,
    config: formatRunConfig(withoutDirectories(config, hub)),
  });
  const documents = new Map([
    [CARD_FILE, card],
    [RUN_FILES.config, formatRunConfig(config)],
    [RUN_FILES.plan, formatPlan(plan)],
    [RUN_FILES.facts, formatFacts({ facts: recordedFacts(facts), result: toJson(outcome) })],
    ...(curve === undefined ? [] : [[RUN_FILES.curve, formatCurve(curve)] as const]),
  ]);
  let problem: string | null = null;
  const lastDocuments = async (): Promise<ReadonlyMap<string, string>> => {
    const record = runRecord({ ...outcome, ...measured() }, { model, started, settings: counting });
    const written = await runDocuments({ record, plan, curve, report: settings.report });
    problem = written.problem;
    return written.documents;
  };
  await exportHuggingFace(pruned, settings.output, {
    ...options,
    dtype: settings.dtype,
    documents,
    lastDocuments,
  });
  return { report: await reportOf(settings.output), report_problem: problem };
}

/** The configuration for the model card, without the paths of this machine, which are private. */
function withoutDirectories(config: CountingSettings, hub: string | null): Partial<RunConfig> {
  const { model, output, plan, calibration } = config;
  return {
    ...config,
    model: hub === null ? lastName(model) : model,
    output: lastName(output),
    plan: plan && lastName(plan),
    calibration: calibration?.map((set) => ({ ...set, path: lastName(set.path) })),
  };
}

/** The last part of a path; hub addresses stay whole. */
function lastName(path: string): string {
  return isHubAddress(path) ? path : basename(resolve(path));
}

/** Path of the report in an output; null without one. */
async function reportOf(output: string): Promise<string | null> {
  const path = join(output, RUN_FILES.report);
  return (await kindOfPath(path)) === "file" ? path : null;
}

/** `ORG/NAME` of a model that came from the hub; null for a local path, even if it looks like a hub address. */
function hubId({ origin }: Model, name: string): string | null {
  return origin.path === name ? null : (parseHubAddress(name)?.id ?? null);
}

function otherRun(output: string, changes: readonly string[]): GpruneError {
  const list = changes.map((change) => `\n  ${change}`).join("");
  return new GpruneError("OUTPUT_EXISTS", `${output}: expected the output of the same run, got${list}`, {
    hint: "Choose another directory or repeat the command that made this one.",
  });
}

/** The loss curve as JSON, one step a line. */
function formatCurve(curve: readonly TrainingStep[]): string {
  return `[\n${curve.map((step) => JSON.stringify(step)).join(",\n")}\n]\n`;
}

/** A run, and what an earlier run may have left as its output. */
interface EarlierOutput {
  readonly config: SettledConfig;
  readonly device: DeviceFound;
  /** Facts of an output that exists already; null without one. */
  readonly recorded: FactsRecord | null;
}

/** @throws GpruneError OUTPUT_EXISTS if an existing output cannot be opened because files are missing or truncated */
async function requireWhole(output: string): Promise<void> {
  try {
    const { weights } = await openModel(output);
    await weights.close();
  } catch (error) {
    if (!(error instanceof GpruneError)) throw error;
    const message = `${output}: expected the complete output of this run, got one that cannot be read (${error.message})`;
    throw new GpruneError("OUTPUT_EXISTS", message, {
      cause: error,
      hint: "Remove the directory and repeat the command.",
    });
  }
}

/**
 * The result of a run that was interrupted after its output was complete; null if there is no such output. Opening the
 * output detects files that are missing or too short, but not values that differ.
 * @throws GpruneError OUTPUT_EXISTS if the output is that of another run, or incomplete
 */
export async function finishedResult(
  { config, device, recorded }: EarlierOutput,
  facts: RunFacts,
): Promise<PruneResult | null> {
  if (recorded === null) return null;
  const changes = differences(recorded.facts, recordedFacts(facts));
  if (changes.length > 0) throw otherRun(config.output, changes);
  await requireWhole(config.output);
  const result = recorded.result as unknown as RunOutcome;
  const report = await reportOf(config.output);
  return {
    output: config.output,
    ...result,
    ...measurements(config, { timings: {}, speed: null, memory: null, device }),
    report,
    report_problem: null,
  };
}
