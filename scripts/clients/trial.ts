/** Writes models in all formats, runs every client on them, and compares the results. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { GpruneError } from "../../src/errors.ts";
import { vllmAnswer } from "../../src/export/program_support.ts";
import { openModel } from "../../src/model/checkpoint/checkpoint.ts";
import { hfForm, vllmObstacle } from "../../src/model/hf/form.ts";
import { deltasOf } from "../../src/model/mixer_layers.ts";
import { attentionLayers, type ModelSpec } from "../../src/model/spec.ts";
import { type Answers, askClient, type ClientName, type Pythons } from "./clients.ts";
import { type Computed, compare } from "./compare.ts";
import type { Format } from "./formats.ts";
import type { Answer, Case } from "./program.ts";
import type { Subject } from "./subjects.ts";
import type { Row, Speed } from "./table.ts";

/** Tokens that every client generates. */
const TOKENS = 20;

/** Clients that read Hugging Face directories. */
const DIRECTORY_CLIENTS: readonly ClientName[] = ["transformers", "vllm"];

/** Head sizes that vLLM has CPU kernels for. */
const VLLM_HEAD_SIZES: readonly number[] = [32, 64, 80, 96, 112, 128, 160, 192, 224, 256];

/** Clients of a trial, and how they run. */
export interface TrialOptions {
  readonly clients: readonly ClientName[];
  readonly pythons: Pythons;
  /** Threads of one operator; null for each client's default. */
  readonly threads: number | null;
  /** Directory with room for every subject in all formats; the files are removed afterwards. */
  readonly scratch: string;
}

/** A subject written in a format. */
interface Export {
  readonly subject: Subject;
  readonly format: Format;
  readonly spec: ModelSpec;
  readonly path: string;
  /** Why it was not written; null if it was. */
  readonly refused: string | null;
}

/** Rows of gprune itself for every subject, and of every client and file. */
export async function trial(
  subjects: readonly Subject[],
  formats: readonly Format[],
  options: TrialOptions,
): Promise<readonly Row[]> {
  const scratch = mkdtempSync(join(options.scratch, "trial-"));
  try {
    const exports: Export[] = [];
    for (const subject of subjects) exports.push(...(await writeExports(subject, formats, scratch)));
    const references = new Map(exports.map((item) => [referenceOf(item), item]));
    const cases = [...references].map(([path, item]) => caseOf("gprune", { ...item, path }, options));
    const ours = askClient("gprune", cases);
    return [
      ...exports
        .filter(({ format, subject }) => format.ours && subject.kind === "model")
        .map((item) => ownRow(item, ours)),
      ...options.clients.flatMap((client) => clientRows(client, exports, { ...options, ours })),
    ];
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/** Writes a subject in the formats that it is tried with. */
async function writeExports(
  subject: Subject,
  formats: readonly Format[],
  scratch: string,
): Promise<readonly Export[]> {
  const model = await openModel(subject.directory);
  const exports: Export[] = [];
  for (const format of formats.filter(({ triedWith }) => triedWith.includes(subject.kind))) {
    const path = join(mkdtempSync(join(scratch, "export-")), `model${format.ending}`);
    const item = { subject, format, spec: model.spec, path };
    try {
      await format.write(model, path);
      exports.push({ ...item, refused: null });
    } catch (error) {
      if (!(error instanceof GpruneError && error.code === "UNSUPPORTED")) throw error;
      exports.push({ ...item, refused: error.message });
    }
  }
  await model.weights.close();
  return exports;
}

/** Path of the reference of a file, which gprune computes: the file itself, or the directory that it was made from. */
function referenceOf({ format, path, subject, refused }: Export): string {
  return format.opens && refused === null ? path : subject.directory;
}

function caseOf(client: ClientName, { subject, format, spec, path }: Export, options: TrialOptions): Case {
  return {
    id: path,
    path,
    ids: subject.ids,
    tokens: TOKENS,
    text: subject.text,
    logits: logitsFile(client, path),
    exact: format.exact,
    remoteCode: DIRECTORY_CLIENTS.includes(client) && hfForm(spec).remoteCode,
    stockBackend: client === "vllm" && vllmObstacle(spec, hfForm(spec).family) !== null,
    threads: options.threads,
  };
}

function logitsFile(client: ClientName, path: string): string {
  return `${path}.${client}.logits`;
}

/**
 * In vLLM on a CPU (0.32), delta rules and latent attention are in 16 bits alone, and all else that is compared in
 * float32; and there it has no experts by sigmoids that are in no groups, which are those of MiniMax-M2
 * (cpu_router.py).
 */
function isFor(client: ClientName, { format, spec }: Export): boolean {
  if (client !== "vllm") return format.clients.includes(client);
  const lacks = deltasOf(spec).length > 0 || spec.latent !== undefined || spec.family === "minimax_m2";
  const computes = VLLM_HEAD_SIZES.includes(spec.headDim) && !lacks;
  return format.clients.includes(client) && computes && vllmAnswer(spec, hfForm(spec))?.[0] !== "no";
}

function clientRows(
  client: ClientName,
  exports: readonly Export[],
  options: TrialOptions & { readonly ours: Answers },
): readonly Row[] {
  const loadable = exports.filter((item) => isFor(client, item));
  const cases = loadable
    .filter(({ refused }) => refused === null)
    .map((item) => caseOf(client, item, options));
  const theirs = askClient(client, cases, options.pythons);
  return loadable.map((item) => rowOf(client, item, { ours: options.ours, theirs }));
}

/** Row of a file before a client has loaded it. */
function blankRow(client: ClientName, { subject, format, spec, path, refused }: Export): Row {
  return {
    client,
    model: subject.name,
    fixture: subject.kind !== "model",
    format: format.name,
    widths: `${subject.shape}: ${widthsOf(spec)}`,
    against: format.opens || format.exact ? "same weights" : "float32 weights",
    comparison: null,
    speed: null,
    bytes: refused === null ? bytesOf(path) : null,
    problems: [],
    skipped: null,
  };
}

/** Row of gprune itself, with its speed. */
function ownRow(item: Export, ours: Answers): Row {
  const answer = answerOf(ours, referenceOf(item));
  const blank = blankRow("gprune", item);
  if ("error" in answer) return { ...blank, problems: [answer.error] };
  return { ...blank, speed: speedOf(answer, item.subject.ids.length) };
}

function rowOf(
  client: ClientName,
  item: Export,
  { ours, theirs }: { readonly ours: Answers; readonly theirs: Answers },
): Row {
  const { subject, format, path, refused } = item;
  const blank = blankRow(client, item);
  if (refused !== null)
    return { ...blank, ...(subject.mayBeRefused ? { skipped: refused } : { problems: [refused] }) };
  if (theirs.unavailable !== null) return { ...blank, skipped: theirs.unavailable };
  const reference = answerOf(ours, referenceOf(item));
  const answer = answerOf(theirs, path);
  if ("error" in answer) return { ...blank, problems: [answer.error] };
  if ("error" in reference) return { ...blank, problems: [`gprune: ${reference.error}`] };
  const { problems, ...comparison } = compare(computed("gprune", reference), computed(client, answer), {
    places: subject.ids.length,
    exact: format.exact,
    tolerance: subject.tolerance,
  });
  return { ...blank, comparison, problems, speed: speedOf(answer, subject.ids.length) };
}

function answerOf(answers: Answers, id: string): Answer | { readonly error: string } {
  if (answers.unavailable !== null) return { error: answers.unavailable };
  return answers.byId.get(id) ?? { error: "no answer" };
}

function computed(client: ClientName, answer: Answer): Computed {
  return {
    answer,
    logits: new Float32Array(new Uint8Array(readFileSync(logitsFile(client, answer.id))).buffer),
  };
}

/** Speeds of an answer in tokens per second. @param prompt - number of tokens in the prompt */
export function speedOf(answer: Answer, prompt: number): Speed {
  const { generated, promptSeconds, decodeSeconds } = answer;
  return { prompt: prompt / promptSeconds, decode: (generated.length - 1) / decodeSeconds };
}

function widthsOf({ layers }: ModelSpec): string {
  const range = (values: readonly number[]): string => {
    const [least, most] = [Math.min(...values), Math.max(...values)];
    return least === most ? String(least) : `${least} to ${most}`;
  };
  const groups = attentionLayers({ layers }).map(({ kvGroups }) => kvGroups);
  return `${range(layers.map(({ neurons }) => neurons))} neurons, ${range(groups)} KV groups`;
}

/** Bytes of a file, or of all files in a directory. */
export function bytesOf(path: string): number {
  if (!statSync(path).isDirectory()) return statSync(path).size;
  return readdirSync(path).reduce((sum, name) => sum + bytesOf(join(path, name)), 0);
}
