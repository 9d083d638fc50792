/**
 * Compares what other programs compute from the files that gprune writes with what gprune computes: pruned models with
 * widths of their own in every layer and with the same in all, in every format, each in the programs it is for.
 *
 *   npm run verify:clients -- [--demo] [--model PATH]... [--node-only] [--python PATH] [--vllm PATH] [--threads N]
 *       [--out PATH]
 *
 * Without options: the demo model in every format, and fixtures of all families in float32. --demo leaves the fixtures
 * out, --model adds a model in every format, --node-only leaves transformers out. The Node clients are installed in
 * scripts/clients by npm, and so is transformers by pip in a virtual environment there, unless --python names a Python
 * that has it. --vllm adds vLLM, of a Python that has it for CPUs. --threads sets the threads of every client but vLLM;
 * without it the small models get one and given models what each client chooses. PATH.md and PATH.json hold the table;
 * bench/results/clients unless --out says otherwise. Temporary files take the room of a given model in float32 three
 * times.
 *
 * Exits 1 when a file is not written or does not load, when a text is cut into other tokens, when logits in float32
 * differ by more than 2e-3 or one of 20 greedy tokens does, and when rounded weights give the same first token in less
 * than a quarter of the places. A model that is not there and a client without a binary for this machine are skipped.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import {
  type ClientName,
  clientVersions,
  installNodeClients,
  installPython,
  type Pythons,
} from "./clients/clients.ts";
import { FORMATS, type Format } from "./clients/formats.ts";
import { threadsOf } from "./clients/options.ts";
import {
  demoSubject,
  fixtureSubjects,
  givenSubject,
  SHAPES,
  type Subject,
  wideSubjects,
} from "./clients/subjects.ts";
import { absentRow, type Row, reportJson, reportMarkdown, summary } from "./clients/table.ts";
import { type TrialOptions, trial } from "./clients/trial.ts";

const NODE_CLIENTS: readonly ClientName[] = ["llama.cpp", "onnxruntime-node", "transformers.js"];

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      demo: { type: "boolean", default: false },
      model: { type: "string", multiple: true, default: [] },
      "node-only": { type: "boolean", default: false },
      python: { type: "string" },
      vllm: { type: "string" },
      threads: { type: "string" },
      out: { type: "string", default: join("bench", "results", "clients") },
    },
  });
  const threads = threadsOf(values.threads);
  installNodeClients();
  const pythons: Pythons = {
    ...(values["node-only"] ? {} : { transformers: values.python ?? installPython() }),
    ...(values.vllm === undefined ? {} : { vllm: values.vllm }),
  };
  const versions = clientVersions(pythons);
  const scratch = mkdtempSync(join(tmpdir(), "gprune-verify-"));
  const clients = [...(Object.keys(pythons) as ClientName[]), ...NODE_CLIENTS];
  try {
    const options = { clients, pythons, threads, scratch };
    const rows = [...(await smallRows(values.demo, options)), ...(await givenRows(values.model, options))];
    mkdirSync(dirname(values.out), { recursive: true });
    writeFileSync(`${values.out}.md`, reportMarkdown({ versions, rows }));
    writeFileSync(`${values.out}.json`, reportJson({ versions, rows }));
    console.log(reportMarkdown({ versions, rows }));
    return rows.some(({ problems }) => problems.length > 0) ? 1 : 0;
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

/**
 * The demo model and, unless `demoOnly`, the fixtures. Threads that wait for each other stand still on a busy machine,
 * and these models are too small to gain from them.
 */
async function smallRows(demoOnly: boolean, options: TrialOptions): Promise<readonly Row[]> {
  const subjects: Subject[] = [];
  for (const shape of SHAPES) subjects.push(await demoSubject(options.scratch, shape));
  if (!demoOnly) {
    subjects.push(...(await fixtureSubjects(options.scratch)));
    if (options.clients.includes("vllm")) subjects.push(...(await wideSubjects(options.scratch)));
  }
  return tried(subjects, FORMATS, { ...options, threads: options.threads ?? 1 });
}

/** Given models, one shape and format after the other, since they may be large. */
async function givenRows(models: readonly string[], options: TrialOptions): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const model of models) {
    if (!existsSync(model)) {
      console.error(`skipped: ${model}: there is no such model`);
      rows.push(absentRow(model));
      continue;
    }
    for (const shape of SHAPES) {
      const subject = await givenSubject(model, options.scratch, shape);
      for (const format of FORMATS) rows.push(...(await tried([subject], [format], options)));
      rmSync(subject.directory, { recursive: true });
    }
  }
  return rows;
}

async function tried(
  subjects: readonly Subject[],
  formats: readonly Format[],
  options: TrialOptions,
): Promise<readonly Row[]> {
  const rows = await trial(subjects, formats, options);
  const names = [...new Set(subjects.map(({ name, shape }) => `${name} ${shape}`))];
  const what = names.length > 2 ? `${names.length} models` : names.join(", ");
  const how = formats.length > 1 ? "all formats" : formats[0]!.name;
  console.error(`${what}, ${how}: ${summary(rows)}`);
  const skipped = rows.flatMap((row) =>
    row.skipped === null ? [] : [`skipped: ${row.client}: ${row.skipped}`],
  );
  for (const line of new Set(skipped)) console.error(line);
  return rows;
}

process.exitCode = await main();
