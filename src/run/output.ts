/** What a run leaves behind: the checkpoint, and documents about itself beside it. */
import { basename, join, resolve } from "node:path";
import { isOwnText } from "../calibrate/windows.ts";
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
import type { Model } from "../model/model.ts";
import type { PruningPlan } from "../prune/plan.ts";
import { formatPlan } from "../prune/plan_json.ts";
import type { TrainingStep } from "../recover/training_state.ts";
import { runDocuments } from "../report/run_documents.ts";
import { RUN_FILES } from "../report/run_files.ts";
import { runRecord } from "../report/run_record.ts";
import { type FactsRecord, formatFacts, type RunFacts, recordedFacts } from "./facts.ts";
import { type Measurements, measurements, type PruneResult, type RunOutcome } from "./result.ts";

/** A run that is to be saved, and how. */
export interface SavedRun extends Pick<ExportOptions, "write" | "onProgress" | "maxShardBytes"> {
  readonly settings: SettledConfig;
  readonly model: Model;
  readonly started: Date;
  /** What the bytes depend on. */
  readonly facts: RunFacts;
}

/** What is saved beside the weights. */
export interface Findings {
  readonly plan: PruningPlan;
  /** The loss curve when the model was trained. */
  readonly curve: readonly TrainingStep[] | undefined;
  readonly outcome: RunOutcome;
  /** How it went up to now. */
  readonly measured: () => Measurements;
}

/** Writes the output. @returns where its report is */
export async function saveRun(
  { settings, model, started, facts, ...options }: SavedRun,
  pruned: Model,
  { plan, curve, outcome, measured }: Findings,
): Promise<Pick<PruneResult, "report" | "report_problem">> {
  // Threads and memory are matters of the machine and change no byte.
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
    ["README.md", card],
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

/** A configuration for a card, which others read: where files lie on this machine is private. */
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

/** Of a path its last part; addresses stay whole. */
function lastName(path: string): string {
  return isHubAddress(path) ? path : basename(resolve(path));
}

/** The report of a finished run; null when there is none. */
async function reportOf(output: string): Promise<string | null> {
  const path = join(output, RUN_FILES.report);
  return (await kindOfPath(path)) === "file" ? path : null;
}

/** `ORG/NAME` of a model that came from the hub; null for a path, though it may look like one. */
function hubId({ origin }: Model, name: string): string | null {
  return origin.path === name ? null : (parseHubAddress(name)?.id ?? null);
}

function otherRun(output: string, changes: readonly string[]): GpruneError {
  const list = changes.map((change) => `\n  ${change}`).join("");
  return new GpruneError("OUTPUT_EXISTS", `${output}: expected the output of the same run, got${list}`, {
    hint: "Choose another directory, or repeat the command that made this one.",
  });
}

/** The loss curve as JSON, one step a line. */
function formatCurve(curve: readonly TrainingStep[]): string {
  return `[\n${curve.map((step) => JSON.stringify(step)).join(",\n")}\n]\n`;
}

/** What a run finds that is asked for once more. */
interface FinishedRun {
  readonly config: SettledConfig;
  readonly device: DeviceFound;
  /** Of an output that is there already. */
  readonly recorded: FactsRecord | null;
}

/**
 * @throws GpruneError OUTPUT_EXISTS when an output that is there is no model, for what of its files is missing or cut
 * off
 */
async function requireWhole(output: string): Promise<void> {
  try {
    const { weights } = await openModel(output);
    await weights.close();
  } catch (error) {
    if (!(error instanceof GpruneError)) throw error;
    const message = `${output}: expected the whole output of this run, got one that cannot be read (${error.message})`;
    throw new GpruneError("OUTPUT_EXISTS", message, {
      cause: error,
      hint: "Remove the directory, then the same command makes it anew.",
    });
  }
}

/**
 * The result of a run that was interrupted after its output was there; null when there is none. The output is opened,
 * which finds files that are missing or too short, and not values that differ.
 * @throws GpruneError OUTPUT_EXISTS when the output is that of another run, or not whole
 */
export async function finishedResult(
  { config, device, recorded }: FinishedRun,
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
