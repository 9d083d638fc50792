/** The documents about itself that a run leaves in its output: run.json and report.html. */
import { reasonOf } from "../errors.ts";
import type { PruningPlan } from "../prune/plan.ts";
import { formatPlan, parsePlan } from "../prune/plan_json.ts";
import type { TrainingStep } from "../recover/training_state.ts";
import { renderReport } from "./report.ts";
import { RUN_FILES } from "./run_files.ts";
import { formatRunRecord, parseRunRecord, type RunRecord } from "./run_record.ts";

export interface RunDocuments {
  /** By name. */
  readonly documents: ReadonlyMap<string, string>;
  /** Why there is no report although one was asked for. */
  readonly problem: string | null;
}

/** What a finished run knows. */
export interface FinishedRun {
  readonly record: RunRecord;
  readonly plan: PruningPlan;
  /** The loss curve when it was trained. */
  readonly curve: readonly TrainingStep[] | undefined;
  /** Whether a report is wanted. */
  readonly report: boolean;
}

/** Never throws: a report that cannot be drawn is no reason to lose hours of work. */
export async function runDocuments({ record, plan, curve, report }: FinishedRun): Promise<RunDocuments> {
  const text = formatRunRecord(record);
  const documents = new Map<string, string>([[RUN_FILES.record, text]]);
  if (!report) return { documents, problem: null };
  try {
    // Through the text of the files, as `gprune report` reads them.
    const page = await renderReport({
      record: parseRunRecord(text, RUN_FILES.record),
      plan: parsePlan(formatPlan(plan), RUN_FILES.plan),
      evaluation: null,
      curve: curve ?? null,
    });
    return { documents: documents.set(RUN_FILES.report, page), problem: null };
  } catch (cause) {
    return { documents, problem: reasonOf(cause) };
  }
}
