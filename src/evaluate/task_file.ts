/**
 * Tasks from JSON Lines files, one document a line, in two formats:
 * - multiple choice, `{query, choices, gold}`: every choice is scored as " " + choice after the query;
 * - partial evaluation (as winogrande), `{contexts, continuation, gold}`: " " + continuation after every context.
 *
 * `gold` is the index of the right choice or context. Other fields are ignored. The first line decides for the file.
 */
import { z } from "zod";
import { GpruneError } from "../errors.ts";
import { readSmallFile } from "../io/file.ts";
import type { HubOptions } from "../io/hub.ts";
import { isJsonObject } from "../io/json.ts";
import { type JsonLine, jsonLines } from "../io/json_lines.ts";
import { decodeUtf8, textPlace } from "../io/texts.ts";

/** One of the answers that a model chooses from. */
export interface Candidate {
  readonly context: string;
  readonly continuation: string;
  /** Length of the answer in code points, the space before it not counted. */
  readonly characters: number;
}

/** One question. */
export interface TaskDocument {
  /** File and line, for messages. */
  readonly where: string;
  readonly candidates: readonly Candidate[];
  /** Index of the right candidate. */
  readonly gold: number;
}

const MAX_TASK_BYTES = 2 ** 28;
/** Characters of a wrong value that a message shows. */
const SHOWN = 60;

// The messages say what is expected; `mismatch` adds where and what was there instead.
const text = z.string({ error: "a text" });
const answer = text.min(1, { error: "a text that is not empty" });
const gold = z.int({ error: "a whole number" });
const FORMATS: Readonly<Record<string, z.ZodType<Omit<TaskDocument, "where">>>> = {
  query: z
    .object({ query: text, choices: listOf(answer), gold })
    .refine((document) => isIndex(document.gold, document.choices), goldOf("choices"))
    .transform(({ query, choices, ...rest }) => ({
      ...rest,
      candidates: choices.map((choice) => candidate(query, choice)),
    })),
  contexts: z
    .object({ contexts: listOf(text), continuation: answer, gold })
    .refine((document) => isIndex(document.gold, document.contexts), goldOf("contexts"))
    .transform(({ contexts, continuation, ...rest }) => ({
      ...rest,
      candidates: contexts.map((context) => candidate(context, continuation)),
    })),
};

/**
 * The first `limit` documents of a task.
 * @param name - a JSON Lines file, or `hf://datasets/ORG/NAME[@REVISION]/FILE.jsonl`
 * @throws GpruneError NOT_FOUND without the file, BAD_FILE for what is too large or no JSON, BAD_TEXT for a line of
 *   another form and for a file without documents
 */
export async function readTask(
  name: string,
  limit: number = Number.POSITIVE_INFINITY,
  options: HubOptions = {},
): Promise<readonly TaskDocument[]> {
  const { path } = await textPlace(name, options);
  const content = decodeUtf8(await readSmallFile(path, MAX_TASK_BYTES), path);
  const documents: TaskDocument[] = [];
  let format: z.ZodType<Omit<TaskDocument, "where">> | undefined;
  for (const line of jsonLines(content, (number) => `${path} line ${number}`)) {
    format ??= formatOf(line);
    const result = format.safeParse(line.value);
    if (!result.success) throw mismatch(line, result.error.issues[0]!);
    documents.push({ where: line.where, ...result.data });
    if (documents.length >= limit) break;
  }
  if (documents.length > 0) return documents;
  throw new GpruneError("BAD_TEXT", `${path}: expected a JSON document on every line, got an empty file`);
}

function formatOf({ where, value }: JsonLine): z.ZodType<Omit<TaskDocument, "where">> {
  const fields = isJsonObject(value) ? Object.keys(value) : [];
  const mark = fields.find((field) => Object.hasOwn(FORMATS, field));
  if (mark !== undefined) return FORMATS[mark]!;
  const formats = "{query, choices, gold} or {contexts, continuation, gold}";
  throw new GpruneError("BAD_TEXT", `${where}: expected ${formats}, got ${shown(value)}`);
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

function listOf(item: z.ZodString): z.ZodArray<z.ZodString> {
  return z.array(item, { error: "a list of texts" }).min(2, { error: "at least two texts" });
}

function isIndex(index: number, list: readonly string[]): boolean {
  return index >= 0 && index < list.length;
}

function goldOf(list: string): { readonly path: string[]; readonly error: string } {
  return { path: ["gold"], error: `an index of ${list}` };
}

function candidate(context: string, answered: string): Candidate {
  return { context, continuation: ` ${answered}`, characters: [...answered].length };
}
