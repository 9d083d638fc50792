/**
 * Sizes and speeds of pruned models beside the dense model, in llama.cpp and in our own runtime.
 *
 *   node --import tsx bench/speed.ts DENSE PRUNED... [--types f16,q8_0,q4_0] [--prompt 512] [--few 8] [--tokens 64]
 *       [--rounds 5] [--threads N] [--out bench/results/speed]
 *
 * Every round measures every model in every type once, each in a process of its own. Models of one type follow one
 * another, so that a temporary slowdown of the machine affects all of them; rounds start with different models. Each
 * process runs the model once before the clock starts, and decodes twice: after a few tokens and after the prompt,
 * since the cost of attention to the past does not depend on the number of parameters. Our own runtime reads the first
 * type; it decodes from quantised types as they are, from all others in float32.
 *
 * All use as many threads as there are cores, or N: by default llama.cpp's binding takes more threads than a small
 * machine has cores, and decodes 200 times slower. Its threads spin after every operator, so any other load disturbs
 * decoding with as many threads as cores; one thread gives steady times.
 *
 * Speeds are medians of the rounds with their range. Speed-ups are relative to the dense model in the same round, and
 * compared with those that the parameter counts promise (speed_summary.ts). A line through the fastest rounds gives the
 * fixed cost of a decoded token and the cost of its past. The tables go to PATH.md and PATH.json. Measure on an idle
 * machine: its load at the start is recorded. Temporary files hold every model in every type.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { basename, dirname, join } from "node:path";
import {
  askClient,
  type ClientName,
  clientVersions,
  installNodeClients,
} from "../scripts/clients/clients.ts";
import { oneOf, parseOptions, positiveInteger, threadsOf } from "../scripts/clients/options.ts";
import { withScratch } from "../scripts/clients/scratch.ts";
import { machine, markdownTable, rangeCell, type Speed } from "../scripts/clients/table.ts";
import { bytesOf, speedOf } from "../scripts/clients/trial.ts";
import { GGUF_CHOICES, type GgufDType } from "../src/base/choices.ts";
import { exportGguf } from "../src/export/gguf.ts";
import { openModel } from "../src/model/checkpoint/checkpoint.ts";
import { parameterCount } from "../src/model/parameter_counts.ts";
import type { ModelSpec } from "../src/model/spec.ts";
import {
  type DecodingCost,
  decodingCost,
  type Gain,
  type Series,
  type Summary,
  summarise,
} from "./speed_summary.ts";

/** A model in a runtime and type, with its speeds in tokens per second, round by round. */
interface Contestant {
  readonly client: ClientName;
  readonly type: string;
  readonly model: string;
  readonly spec: ModelSpec;
  readonly path: string;
  readonly bytes: number;
  readonly prompt: number[];
  readonly decode: number[];
  readonly late: number[];
}

interface Row extends Summary {
  readonly client: string;
  readonly type: string;
  readonly parameters: number;
  /** Removed fraction of the dense model's parameters, 0 to 1. */
  readonly removed: number;
  readonly bytes: number;
}

interface Settings {
  readonly prompt: number;
  readonly few: number;
  readonly tokens: number;
  readonly rounds: number;
  readonly threads: number;
  /** Load average of the machine at the start. */
  readonly load: number;
}

/** Writes every model as a GGUF file of every type, for llama.cpp, and with the first type for our own runtime. */
async function enter(
  paths: readonly string[],
  types: readonly GgufDType[],
  scratch: string,
): Promise<readonly Contestant[]> {
  const contestants: Contestant[] = [];
  for (const [index, source] of paths.entries()) {
    const model = await openModel(source);
    const { spec } = model;
    for (const type of types) {
      const path = join(scratch, `${index}.${type}.gguf`);
      const { warnings } = await exportGguf(model, path, { dtype: type });
      for (const warning of warnings) console.error(`${basename(source)}, ${type}: ${warning}`);
      const shared = { type, model: basename(source), spec, path, bytes: bytesOf(path) };
      const clients: readonly ClientName[] = type === types[0] ? ["llama.cpp", "gprune"] : ["llama.cpp"];
      contestants.push(...clients.map((client) => ({ ...shared, client, prompt: [], decode: [], late: [] })));
    }
    await model.weights.close();
  }
  return byKind(contestants).flat();
}

/** Measures one round, which starts with another contestant than the previous one. */
function measureAll(contestants: readonly Contestant[], round: number, settings: Settings): void {
  const start = round % contestants.length;
  for (const contestant of [...contestants.slice(start), ...contestants.slice(0, start)]) {
    const [few, long] = measure(contestant, settings);
    contestant.prompt.push(long.prompt);
    contestant.decode.push(few.decode);
    contestant.late.push(long.decode);
  }
}

/** Speeds after a few tokens, and after the prompt. @throws Error when the client cannot run the model */
function measure(
  { client, path, spec }: Contestant,
  { prompt, few, tokens, threads }: Settings,
): readonly [Speed, Speed] {
  const cases = [few, prompt].map((length) => ({
    id: `${path} ${length}`,
    path,
    ids: Array.from({ length }, (_, i) => (7 * i * i + 11 * i) % spec.vocabSize),
    tokens,
    text: null,
    logits: null,
    exact: false,
    remoteCode: false,
    stockBackend: false,
    threads,
  }));
  const answers = askClient(client, cases);
  if (answers.unavailable !== null) throw new Error(`${client}: ${answers.unavailable}`);
  const speeds = cases.map(({ id, ids }): Speed => {
    const answer = answers.byId.get(id)!;
    if ("error" in answer) throw new Error(`${client}, ${path}: ${answer.error}`);
    return speedOf(answer, ids.length);
  });
  return speeds as [Speed, Speed];
}

/** Rows grouped by runtime and type, the dense model first in each. */
function rowsOf(contestants: readonly Contestant[]): readonly Row[] {
  return byKind(contestants).flatMap((group) => {
    const dense = parameterCount(group[0]!.spec);
    return summarise(group satisfies readonly Series[]).map((summary, index) => {
      const { client, type, bytes, spec } = group[index]!;
      const parameters = parameterCount(spec);
      return { client, type, parameters, removed: 1 - parameters / dense, bytes, ...summary };
    });
  });
}

/** Items grouped by runtime and type, in the order of first occurrence. */
function byKind<Item extends { readonly client: string; readonly type: string }>(
  items: readonly Item[],
): readonly (readonly Item[])[] {
  const kinds = new Map<string, Item[]>();
  for (const item of items) {
    const kind = `${item.client} ${item.type}`;
    kinds.set(kind, [...(kinds.get(kind) ?? []), item]);
  }
  return [...kinds.values()];
}

const COLUMNS: Readonly<Record<string, (row: Row) => string>> = {
  runtime: ({ client }) => client,
  type: ({ type }) => type,
  model: ({ model }) => model,
  "parameters, million": ({ parameters }) => (parameters / 1e6).toFixed(1),
  removed: ({ removed }) => percent(removed),
  MB: ({ bytes }) => (bytes / 1e6).toFixed(1),
  "prompt tokens/s": ({ prompt }) => rangeCell(prompt.speed, 0),
  "prompt speed-up": ({ prompt }) => gainCell(prompt),
  "decoding tokens/s": ({ decode }) => rangeCell(decode.speed, 1),
  "decoding speed-up": ({ decode }) => gainCell(decode),
  "after the prompt, tokens/s": ({ late }) => rangeCell(late.speed, 1),
  "after the prompt, speed-up": ({ late }) => gainCell(late),
};

function gainCell({ speedUp, promised, kept }: Gain): string {
  return `${rangeCell(speedUp, 2)} of ${promised.toFixed(2)}: ${percent(kept)}`;
}

function percent(fraction: number): string {
  return `${(100 * fraction).toFixed(0)} %`;
}

/** Cost of a decoded token in one runtime and type. */
interface CostRow extends DecodingCost {
  readonly client: string;
  readonly type: string;
}

function costsOf(rows: readonly Row[], { prompt, few, tokens }: Settings): readonly CostRow[] {
  return byKind(rows).map((group) => {
    const { client, type } = group[0]!;
    const models = group.map(({ bytes, decode, late }) => ({
      bytes,
      early: { past: few + tokens / 2, tokensPerSecond: decode.speed.max },
      late: { past: prompt + tokens / 2, tokensPerSecond: late.speed.max },
    }));
    return { client, type, ...decodingCost(models) };
  });
}

const COST_COLUMNS: Readonly<Record<string, (row: CostRow) => string>> = {
  runtime: ({ client }) => client,
  type: ({ type }) => type,
  "ms a token whatever the size": ({ fixed }) => (1000 * fixed).toFixed(1),
  "ms for each 100 MB": ({ perByte }) => (1e11 * perByte).toFixed(1),
  "ms for each 100 tokens of the past, by model": ({ perPast }) =>
    perPast.map((seconds) => (1e5 * seconds).toFixed(1)).join(", "),
  "a model is off the line by at most": ({ worst }) => percent(worst),
  "speed-up that the line gives the smallest model": ({ gain }) => gain.toFixed(2),
};

function tableOf<Row>(columns: Readonly<Record<string, (row: Row) => string>>, rows: readonly Row[]): string {
  const cells = rows.map((row) => Object.values(columns).map((cell) => cell(row)));
  return markdownTable(Object.keys(columns), cells);
}

function report(rows: readonly Row[], settings: Settings, out: string): void {
  const { prompt, few, tokens, rounds, threads, load } = settings;
  const versions = clientVersions({});
  const conditions =
    `${machine()}, load ${load.toFixed(2)} at the start, ${threads} threads; ` +
    `${prompt} tokens of prompt, ${tokens} decoded after ${few} and after the prompt, ${rounds} rounds; node-llama-cpp ${versions["node-llama-cpp"]}`;
  const costs = costsOf(rows, settings);
  const text =
    `${conditions}. Median (range) of the rounds; speed-up over the first model of the same kind, of what the number ` +
    `of parameters promises.\n\n${tableOf(COLUMNS, rows)}\n\nA decoded token by the size of the file: a straight line ` +
    `through the fastest rounds, without what attention to the past takes.\n\n${tableOf(COST_COLUMNS, costs)}\n`;
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(`${out}.md`, text);
  writeFileSync(
    `${out}.json`,
    `${JSON.stringify({ versions, machine: machine(), ...settings, rows, costs }, null, 1)}\n`,
  );
  console.log(text);
}

async function main(): Promise<void> {
  const { values, positionals: models } = parseOptions({
    allowPositionals: true,
    options: {
      types: { type: "string", default: "f16,q8_0,q4_0" },
      prompt: { type: "string", default: "512" },
      few: { type: "string", default: "8" },
      tokens: { type: "string", default: "64" },
      rounds: { type: "string", default: "5" },
      threads: { type: "string" },
      out: { type: "string", default: join("bench", "results", "speed") },
    },
  });
  if (models.length < 2) throw new Error("usage: bench/speed.ts DENSE PRUNED...; --help says more");
  const settings: Settings = {
    prompt: positiveInteger("prompt", values.prompt),
    few: positiveInteger("few", values.few),
    tokens: positiveInteger("tokens", values.tokens),
    rounds: positiveInteger("rounds", values.rounds),
    threads: threadsOf(values.threads) ?? availableParallelism(),
    load: loadavg()[0]!,
  };
  const known = GGUF_CHOICES.filter((choice) => choice !== "auto");
  const types = values.types.split(",").map((type) => oneOf("types", type, known));
  installNodeClients();
  await withScratch("speed", async (scratch) => {
    const contestants = await enter(models, types, scratch);
    for (let round = 0; round < settings.rounds; round++) {
      measureAll(contestants, round, settings);
      console.error(`round ${round + 1} of ${settings.rounds}`);
    }
    report(rowsOf(contestants), settings, values.out);
  });
}

await main();
