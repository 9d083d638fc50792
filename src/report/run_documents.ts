/** The documents that describe a run in its output: run.json and report.html. */
import { RUN_FILES } from "../base/file_names.ts";
import { reasonOf } from "../errors.ts";
import type { PruningPlan } from "../prune/plan.ts";
import { formatPlan, parsePlan } from "../prune/plan_json.ts";
import type { TrainingStep } from "../recover/training_state.ts";
import { renderReport } from "./report.ts";
import { formatRunRecord, parseRunRecord, type RunRecord } from "./run_record.ts";

export interface RunDocuments {
  /** Texts by file name. */
  readonly documents: ReadonlyMap<string, string>;
  /** Why the report could not be drawn; null where it was, or none was requested. */
  readonly problem: string | null;
}

/** Results of a finished run. */
export interface DocumentedRun {
  readonly record: RunRecord;
  readonly plan: PruningPlan;
  /** Loss curve of distillation; undefined without it. */
  readonly curve: readonly TrainingStep[] | undefined;
  /** Whether to render a report. */
  readonly report: boolean;
}

/** Makes the documents. Does not throw for a report that cannot be drawn, which must not cost hours of work. */
export async function runDocuments({ record, plan, curve, report }: DocumentedRun): Promise<RunDocuments> {
  const text = formatRunRecord(record);
  const documents = new Map<string, string>([[RUN_FILES.record, text]]);
  if (!report) return { documents, problem: null };
  try {
    // Parsed from the text of the files, as by `gprune report`.
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
