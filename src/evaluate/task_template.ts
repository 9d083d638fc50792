/**
 * Tasks in lm-evaluation-harness's YAML format: the files of the records, and Jinja templates that make a question of
 * each. Supported keys are `dataset_path`, `dataset_kwargs.data_files`, the splits, `doc_to_text`, `doc_to_choice`,
 * `doc_to_target`, `target_delimiter`, `description`, `num_fewshot` and `fewshot_config.sampler`, and as `output_type`
 * only `multiple_choice`, the default. Python functions as templates are refused, like every unknown YAML tag.
 */
import { dirname, posix, resolve } from "node:path";
import { z } from "zod";
import { namesText } from "../base/lists.ts";
import { wrongValues } from "../base/wrong_values.ts";
import { GpruneError } from "../errors.ts";
import { readSmallFile } from "../io/files/file.ts";
import { isJsonObject } from "../io/files/json.ts";
import { MAX_YAML_BYTES, parseYaml } from "../io/files/yaml.ts";
import { isHubAddress } from "../io/hub/address.ts";
import type { HubOptions } from "../io/hub/hub.ts";
import type { JsonLine } from "../io/texts/json_lines.ts";
import { readRecords } from "../io/texts/records.ts";
import { decodeText, textPlace } from "../io/texts/texts.ts";
import { renderTemplates, templateNames } from "../jinja/render.ts";
import { candidate, type Question, type TaskDocument } from "./task_documents.ts";

const dataFiles = z.union([
  z.string(),
  z.record(z.string(), z.union([z.string(), z.array(z.string()).length(1)])),
]);
const text = z.string({ error: "expected a text" });
const COUNT = { error: "expected a whole number of at least 0" };
/** A key by which the harness would change prompts, and which is not supported. */
const unread = z
  .literal("", { error: "expected none; this key would change prompts and is not supported" })
  .nullish();
const schema = z.object({
  include: z
    .undefined({ error: "expected no include; copy the included settings into this file" })
    .optional(),
  dataset_path: text,
  dataset_kwargs: z.object({ data_files: dataFiles }).optional(),
  test_split: z.string().nullish(),
  validation_split: z.string().nullish(),
  training_split: z.string().nullish(),
  fewshot_split: z.string().nullish(),
  fewshot_config: z
    .looseObject({
      sampler: z
        .enum(["default", "first_n"], {
          error: "expected default or first_n; other samplers are not supported",
        })
        .optional(),
      split: z.string().nullish(),
    })
    .nullish(),
  output_type: z
    .literal("multiple_choice", { error: "expected multiple_choice; other types are not supported" })
    .default("multiple_choice"),
  doc_to_text: text,
  doc_to_choice: z.union([z.string(), z.array(z.string()).min(2)], {
    error: "expected a template, a field or a list of at least two texts",
  }),
  doc_to_target: z.union([z.string(), z.int()], { error: "expected a template, a field or a number" }),
  target_delimiter: z.string().default(" "),
  gen_prefix: unread,
  use_prompt: unread,
  fewshot_delimiter: z
    .literal("\n\n", {
      error: "expected an empty line (\\n\\n); other delimiters are not supported",
    })
    .optional(),
  description: z.string().default(""),
  num_fewshot: z.int(COUNT).min(0, COUNT).nullish(),
});
type TaskTemplate = z.infer<typeof schema>;

/** A task's YAML file. */
interface TemplateFile {
  /** Its path or address as given, to which the paths of data files are relative. */
  readonly name: string;
  readonly path: string;
  readonly task: TaskTemplate;
  readonly options: HubOptions;
}

/**
 * The first `limit` questions of a task.
 * @param name - a YAML file, or `hf://datasets/ORG/NAME[@REVISION]/FILE.yaml`
 * @throws GpruneError BAD_FILE for invalid YAML or a missing or unsupported key, BAD_TEXT for a record that does not
 *   fit the templates, and as `readRecords`
 */
export async function readTemplatedTask(
  name: string,
  limit: number,
  options: HubOptions,
): Promise<readonly TaskDocument[]> {
  const file = await readTemplate(name, options);
  return questionsOf(file, scoredSplit(file.task), limit);
}

/**
 * The questions that shots are drawn from, of the split that the harness takes (`fewshot_docs` of lm_eval/api/task.py).
 * @param scored - all questions of the scored split, if they have been read
 * @throws GpruneError BAD_FILE for an unsupported key of `fewshot_config`, and as `readTemplatedTask`
 */
export async function readTemplatedPool(
  name: string,
  scored: readonly TaskDocument[] | null,
  options: HubOptions,
): Promise<readonly TaskDocument[]> {
  const file = await readTemplate(name, options);
  const { fewshot_config: config, ...task } = file.task;
  const { sampler: _, split, ...unread } = config ?? {};
  const [key] = Object.keys(unread);
  if (key !== undefined) {
    const expected = "expected only sampler and split, since other keys would change prompts";
    throw new GpruneError("BAD_FILE", `${file.path}: fewshot_config: ${expected}, got ${key}`, {
      hint: "Give a file of few-shot examples instead (--fewshot).",
    });
  }
  const scoredName = scoredSplit(file.task);
  const drawn = split ?? task.fewshot_split ?? task.training_split ?? task.validation_split ?? scoredName;
  if (drawn === scoredName && scored !== null) return scored;
  return questionsOf(file, drawn, Number.POSITIVE_INFINITY);
}

async function readTemplate(name: string, options: HubOptions): Promise<TemplateFile> {
  const { path } = await textPlace(name, options);
  const value = parseYaml(decodeText(await readSmallFile(path, MAX_YAML_BYTES), path), path, "BAD_FILE");
  const { data, error } = schema.safeParse(value);
  if (error === undefined) return { name, path, task: data, options };
  throw new GpruneError("BAD_FILE", `${path}: ${wrongValues(error)}`, {
    hint: "It needs dataset_path, dataset_kwargs, doc_to_text, doc_to_choice and doc_to_target, see docs/TASKS.md.",
  });
}

async function questionsOf(
  { name, path, task, options }: TemplateFile,
  split: string,
  limit: number,
): Promise<readonly TaskDocument[]> {
  const file = resolveFrom(isHubAddress(name) ? name : path, dataFile(task, { path, split }));
  // All records are read even for a few questions, since the fields are those of all.
  const allRecords = await readRecords(file, Number.POSITIVE_INFINITY, options);
  const fields = fieldsOf(allRecords);
  const records = allRecords.slice(0, limit);
  const templates = templatesOf(task, path, fields);
  const values = records.map(({ value }) => withAllFields(value, fields));
  const rendered = await renderTemplates(templates, values, (index) => records[index]!.where);
  const hasContexts = records.length > 0 && choosesContexts(records[0]!, rendered[0]!.doc_to_text, task);
  return records.map((record, index) => {
    const texts = rendered[index]!;
    return {
      where: record.where,
      description: texts.description,
      shots: task.num_fewshot ?? 0,
      firstShots: task.fewshot_config?.sampler === "first_n",
      ...questionOf(record, { texts, task, hasContexts }),
    };
  });
}

/** The fields that any record has, like the columns of a data set. */
function fieldsOf(records: readonly JsonLine[]): ReadonlySet<string> {
  return new Set(records.flatMap(({ value }) => (isJsonObject(value) ? Object.keys(value) : [])));
}

/** A record with null in the fields that only other records have, as in a data set of columns. */
function withAllFields(value: unknown, fields: ReadonlySet<string>): unknown {
  if (!isJsonObject(value)) return value;
  return { ...Object.fromEntries(Array.from(fields, (field) => [field, null])), ...value };
}

function scoredSplit({ test_split, validation_split }: TaskTemplate): string {
  return test_split ?? validation_split ?? "test";
}

/** The file of a split, as the YAML file at `path` names it. */
function dataFile(
  { dataset_kwargs: kwargs }: TaskTemplate,
  { path, split }: { readonly path: string; readonly split: string },
): string {
  const files = kwargs?.data_files ?? {};
  const [file] = [typeof files === "string" ? files : new Map(Object.entries(files)).get(split)].flat();
  if (file === undefined) {
    throw new GpruneError(
      "BAD_FILE",
      `${path}: expected a file of ${split} in dataset_kwargs.data_files, got none`,
      {
        hint: "Give a JSON Lines, JSON or Parquet file, or hf://datasets/ORG/NAME/FILE.",
      },
    );
  }
  return file;
}

/** A file that a YAML file names: a hub address as it is, a path relative to the YAML file, locally or on the hub. */
function resolveFrom(yaml: string, file: string): string {
  if (isHubAddress(file)) return file;
  if (!isHubAddress(yaml)) return resolve(dirname(yaml), file);
  const start = yaml.indexOf("//") + 2;
  return yaml.slice(0, start) + posix.join(posix.dirname(yaml.slice(start)), file);
}

/** The templates of a task, or their results for one record, by their keys in the YAML file. */
type Templated = Readonly<{
  doc_to_text: string;
  doc_to_target: string;
  description: string;
  /** The choices as JSON; absent where they are the same for all records. */
  doc_to_choice?: string;
}>;

function templatesOf(
  { doc_to_text, doc_to_choice, doc_to_target, description }: TaskTemplate,
  path: string,
  fields: ReadonlySet<string>,
): Templated {
  // The bare name of a field stands for its value.
  const expanded = (template: string): string => (fields.has(template) ? `{{ ${template} }}` : template);
  const templates: Templated = {
    doc_to_text: expanded(doc_to_text),
    doc_to_target: expanded(String(doc_to_target)),
    description: expanded(description),
    ...(typeof doc_to_choice === "string" && {
      doc_to_choice: listTemplate(expanded(doc_to_choice), `${path}: doc_to_choice`),
    }),
  };
  for (const [part, template] of Object.entries(templates)) {
    const missing = [...templateNames(template, `${path}: ${part}`)].find((name) => !fields.has(name));
    if (missing === undefined) continue;
    throw new GpruneError("BAD_FILE", `${path}: ${part}: expected a field of the records, got ${missing}`, {
      hint: `The records have ${namesText([...fields])}.`,
    });
  }
  return templates;
}

/** Turns `{{ expression }}` into `{{ (expression) | tojson }}`: a list is rendered as JSON, not as Python's repr. */
function listTemplate(template: string, where: string): string {
  const { expression } = /^\s*\{\{(?<expression>(?:(?!\}\}).)+)\}\}\s*$/s.exec(template)?.groups ?? {};
  if (expression !== undefined) return `{{ (${expression}) | tojson }}`;
  throw new GpruneError(
    "BAD_FILE",
    `${where}: expected {{ a list }}, the name of a field, or a list, got ${template}`,
  );
}

/**
 * Whether choices are contexts and the target is their continuation: where the prompt is a number, the index of the
 * right choice (`multiple_input` of lm_eval/api/task.py, decided by the first record).
 */
function choosesContexts({ value }: JsonLine, prompt: string, { doc_to_text: field }: TaskTemplate): boolean {
  const named = isJsonObject(value) ? value[field] : undefined;
  return named === undefined ? /^\d+$/.test(prompt) : ["number", "boolean"].includes(typeof named);
}

const CONTEXTS_HINT =
  "If doc_to_text is a number in the first record, the choices are contexts and it is the index of the right one.";
const DIGITS_HINT =
  "Digits are read as an index, as in lm-evaluation-harness; give the field that holds the choice itself.";

function questionOf(
  { where, value }: JsonLine,
  {
    texts: { doc_to_text: prompt, doc_to_target: target, doc_to_choice: listed },
    task,
    hasContexts,
  }: { readonly texts: Templated; readonly task: TaskTemplate; readonly hasContexts: boolean },
): Question {
  const choices = listed === undefined ? (task.doc_to_choice as readonly string[]) : parseList(listed);
  if (choices === undefined || choices.length < 2) {
    throw new GpruneError(
      "BAD_TEXT",
      `${where}: expected at least two texts from doc_to_choice, got ${listed}`,
    );
  }
  const [part, right] = hasContexts
    ? (["doc_to_text", prompt] as const)
    : (["doc_to_target", target] as const);
  const named = isJsonObject(value) ? value[task[part]] : undefined;
  const gold = namedGold(named, choices) ?? goldOf(right, choices);
  if (gold < 0 || gold >= choices.length) {
    const expected = `a choice or its index, 0 to ${choices.length - 1}`;
    throw new GpruneError("BAD_TEXT", `${where}: expected ${expected} from ${part}, got ${right}`, {
      hint: hasContexts ? CONTEXTS_HINT : choices.includes(right) ? DIGITS_HINT : undefined,
    });
  }
  const candidates = choices.map((choice) =>
    hasContexts
      ? candidate(choice, target, task.target_delimiter)
      : candidate(prompt, choice, task.target_delimiter),
  );
  return { candidates, gold };
}

/** The index of the right choice from a field's value: the choice itself, even if it is digits, or a boolean. */
function namedGold(value: unknown, choices: readonly string[]): number | undefined {
  if (typeof value === "boolean") return Number(value);
  return typeof value === "string" && choices.includes(value) ? choices.indexOf(value) : undefined;
}

/** The index of the right choice from a template's result, a number or a choice; -1 for anything else. */
function goldOf(target: string, choices: readonly string[]): number {
  const trimmed = target.trim();
  if (/^\d+$/.test(trimmed)) return Number(trimmed);
  return choices.indexOf(choices.includes(target) ? target : trimmed);
}

/** A list of texts as JSON; undefined for anything else. */
function parseList(json: string): readonly string[] | undefined {
  const list: unknown = JSON.parse(json);
  const isList = Array.isArray(list) && list.every((item) => typeof item === "string" && item !== "");
  return isList ? list : undefined;
}
