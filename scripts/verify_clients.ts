/**
 * Checks that other programs compute the same as gprune from the files that gprune writes: models pruned to uneven and
 * to uniform widths, in every format, each with the programs that load it.
 *
 *   npm run verify:clients -- [--demo] [--model PATH]... [--node-only] [--python PATH] [--vllm PATH] [--threads N]
 *       [--out PATH]
 *
 * Without options: the demo model in every format, and fixtures of all families in float32. --demo leaves the fixtures
 * out, --model adds a model in every format, --node-only leaves transformers out. npm installs the Node clients in
 * scripts/clients, and pip installs transformers in a virtual environment there, unless --python names a Python that
 * has it. --vllm adds vLLM, from a Python that has it for CPUs. --threads sets the threads of every client but vLLM;
 * without it small models get one thread, and given models what each client chooses. The table goes to PATH.md and
 * PATH.json, bench/results/clients by default. Temporary files take three times the size of a given model in float32.
 *
 * Exits with 1 when a file is not written or does not load, when a text is tokenised differently, when float32 logits
 * differ by more than 2e-3 (in llama.cpp those of random models with GELU by more than 2e-2) or one of 20 greedy tokens
 * differs, and when rounded weights give the same most probable token in less than a quarter of the positions. Missing
 * models and clients without a binary for this machine are skipped.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  type ClientName,
  clientVersions,
  installNodeClients,
  installPython,
  type Pythons,
} from "./clients/clients.ts";
import { FORMATS, type Format } from "./clients/formats.ts";
import { parseOptions, threadsOf } from "./clients/options.ts";
import { withScratch } from "./clients/scratch.ts";
import {
  demoSubject,
  fixtureSubjects,
  givenSubject,
  SHAPES,
  type Subject,
  tokenizedSubjects,
  wideSubjects,
} from "./clients/subjects.ts";
import { absentRow, type Row, reportJson, reportMarkdown, summary } from "./clients/table.ts";
import { type TrialOptions, trial } from "./clients/trial.ts";

const NODE_CLIENTS: readonly ClientName[] = ["llama.cpp", "onnxruntime-node", "transformers.js"];

async function main(): Promise<number> {
  const { values } = parseOptions({
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
  const clients = [...(Object.keys(pythons) as ClientName[]), ...NODE_CLIENTS];
  return withScratch("verify", async (scratch) => {
    const options = { clients, pythons, threads, scratch };
    const rows = [...(await smallRows(values.demo, options)), ...(await givenRows(values.model, options))];
    mkdirSync(dirname(values.out), { recursive: true });
    writeFileSync(`${values.out}.md`, reportMarkdown({ versions, rows }));
    writeFileSync(`${values.out}.json`, reportJson({ versions, rows }));
    console.log(reportMarkdown({ versions, rows }));
    return rows.some(({ problems }) => problems.length > 0) ? 1 : 0;
  });
}

/**
 * Rows of the demo model and, unless `demoOnly`, the fixtures. One thread by default: these models are too small to
 * gain from more, which slow each other down on a busy machine.
 */
async function smallRows(demoOnly: boolean, options: TrialOptions): Promise<readonly Row[]> {
  const subjects: Subject[] = [];
  for (const shape of SHAPES) subjects.push(await demoSubject(options.scratch, shape));
  if (!demoOnly) {
    subjects.push(...(await fixtureSubjects(options.scratch)));
    subjects.push(...(await tokenizedSubjects(options.scratch)));
    if (options.clients.includes("vllm")) subjects.push(...(await wideSubjects(options.scratch)));
  }
  return runTrials(subjects, FORMATS, { ...options, threads: options.threads ?? 1 });
}

/** Rows of the models of --model, one shape and format after the other, since the models may be large. */
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
      for (const format of FORMATS) rows.push(...(await runTrials([subject], [format], options)));
      rmSync(subject.directory, { recursive: true });
    }
  }
  return rows;
}

/** Runs trials, and prints their summary. */
async function runTrials(
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
