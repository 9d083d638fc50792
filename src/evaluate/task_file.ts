/**
 * Reads tasks from files: records in gprune's layouts or those of published data sets (task_layouts.ts), where the
 * first record decides for the whole file, or by the templates of a YAML file (task_template.ts).
 */
import type { z } from "zod";
import { requireCount } from "../base/arguments.ts";
import { GpruneError, requireWord } from "../errors.ts";
import { endingOf } from "../io/files/file.ts";
import { isJsonObject } from "../io/files/json.ts";
import type { HubOptions } from "../io/hub/hub.ts";
import type { JsonLine } from "../io/texts/json_lines.ts";
import { readRecords } from "../io/texts/records.ts";
import type { TaskDocument } from "./task_documents.ts";
import { TASK_LAYOUTS, type TaskLayout } from "./task_layouts.ts";
import { readTemplatedPool, readTemplatedTask } from "./task_template.ts";

/** Most characters of a wrong value in a message. */
const SHOWN = 60;

/**
 * The first `limit` documents of a task.
 * @param name - a JSON Lines, JSON, Parquet or YAML file, or `hf://datasets/ORG/NAME[@REVISION]/FILE`
 * @throws GpruneError BAD_TEXT for a record of no known layout, or of another layout than the first record;
 *   BAD_ARGUMENT for a limit that is no positive whole number; as `readRecords` and `readTemplatedTask`
 */
export async function readTask(
  name: string,
  limit: number = Number.POSITIVE_INFINITY,
  options: HubOptions = {},
): Promise<readonly TaskDocument[]> {
  requireWord(name, "task");
  if (limit !== Number.POSITIVE_INFINITY) requireCount("limit", limit);
  if (isTemplated(name)) return readTemplatedTask(name, limit, options);
  const records = await readRecords(name, limit, options);
  const { question } = layoutOf(records[0]!);
  return records.map((record) => {
    const result = question.safeParse(record.value);
    if (!result.success) throw mismatch(record, result.error.issues[0]!);
    return { where: record.where, ...result.data };
  });
}

/**
 * The questions that a task's shots are drawn from: its own, or those of another split that its YAML file names.
 * @param scored - all questions of the task, if they have been read
 * @throws as `readTask`
 */
export async function readPool(
  name: string,
  scored: readonly TaskDocument[] | null,
  options: HubOptions,
): Promise<readonly TaskDocument[]> {
  if (isTemplated(name)) return readTemplatedPool(name, scored, options);
  return scored ?? readTask(name, undefined, options);
}

function isTemplated(name: string): boolean {
  return [".yaml", ".yml"].includes(endingOf(name));
}

function layoutOf({ where, value }: JsonLine): TaskLayout {
  const has = (field: string): boolean => isJsonObject(value) && Object.hasOwn(value, field);
  const layout = TASK_LAYOUTS.find(({ fields }) => fields.every(has));
  if (layout !== undefined) return layout;
  const fieldSets = TASK_LAYOUTS.map(({ fields }) => `{${fields.join(", ")}}`).join(", ");
  throw new GpruneError("BAD_TEXT", `${where}: expected a document of a known layout, got ${shown(value)}`, {
    hint: `Documents must have one of these sets of fields: ${fieldSets}.`,
  });
}

function mismatch({ where, value }: JsonLine, { message, path }: z.core.$ZodIssue): GpruneError {
  let found: unknown = value;
  for (const key of path) found = Object(found)[key];
  const field = path.length === 0 ? "" : ` as ${path.join(".")}`;
  const expected = path.length === 0 ? "an object" : message;
  return new GpruneError("BAD_TEXT", `${where}: expected ${expected}${field}, got ${shown(found)}`);
}

function shown(value: unknown): string {
  const json = JSON.stringify(value) ?? "nothing";
  return json.length <= SHOWN ? json : `${json.slice(0, SHOWN)}...`;
}
