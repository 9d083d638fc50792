/**
 * Perplexity of a model pruned by other tools, run in their own code, at the same fractions of its attention and FFN
 * parameters. Nothing is trained.
 *
 *   node --import tsx bench/tools.ts MODEL --calib DIR --texts DIR --python PATH --work DIR [--torch-pruning DIR]
 *       [--llm-pruner DIR] [--quality FILE] [--fractions 0.2,0.35,0.5] [--ways NAME;NAME] [--samples 24]
 *       [--limit 24] [--screen 2] [--seq-len 512] [--threads 2] [--out bench/results/tools]
 *
 * PATH is a Python with torch, transformers and optipfair; the other tools are checkouts, and one without a directory
 * is left out. Calibration windows and texts are those of quality.ts with the same numbers, so its rows are comparable.
 * A tool's settings (tools/requests.ts) are compared on the first windows of each text, and the best is evaluated on
 * all of them. Finished rows are kept in OUT.json and not run again; a file is for one model and one choice of these
 * numbers. OUT.md has the tables, with gprune's results from a file of quality.ts (--quality). The work directory gets
 * the model in float32, the windows, and gradients of all calibration windows, which several tools rank by; they are
 * used again, so it is for one model and one choice, too.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { oneOf, parseOptions, positiveInteger, positiveNumber } from "../scripts/clients/options.ts";
import { withArrayMemory } from "../src/io/files/machine.ts";
import { readRows, writeRows } from "./quality/results.ts";
import { type Material, prepare } from "./tools/material.ts";
import { ownResults } from "./tools/own_results.ts";
import { type Answer, DENSE, type Request, type Source, WAYS, type Way } from "./tools/requests.ts";
import { markdown, type Row } from "./tools/table.ts";

const HERE = join(import.meta.dirname, "tools");

const { values, positionals } = parseOptions({
  allowPositionals: true,
  options: {
    calib: { type: "string" },
    texts: { type: "string" },
    python: { type: "string" },
    work: { type: "string" },
    "torch-pruning": { type: "string" },
    "llm-pruner": { type: "string" },
    quality: { type: "string" },
    fractions: { type: "string", default: "0.2,0.35,0.5" },
    ways: { type: "string" },
    samples: { type: "string", default: "24" },
    limit: { type: "string", default: "24" },
    screen: { type: "string", default: "2" },
    "seq-len": { type: "string", default: "512" },
    threads: { type: "string", default: "2" },
    out: { type: "string", default: join("bench", "results", "tools") },
  },
});
const [model] = positionals;
const { calib, texts, python, work, out } = values;
if (!model || !calib || !texts || !python || !work) {
  throw new Error(
    "usage: bench/tools.ts MODEL --calib DIR --texts DIR --python PATH --work DIR; --help says more",
  );
}
const checkouts: Readonly<Partial<Record<Source, string>>> = {
  ...(values["torch-pruning"] && { "torch-pruning": resolve(values["torch-pruning"]) }),
  ...(values["llm-pruner"] && { "llm-pruner": resolve(values["llm-pruner"]) }),
};
const names = WAYS.map(({ name }) => name);
const wanted = values.ways?.split(";").map((name) => oneOf("ways", name, names));
const numbers = {
  samples: positiveInteger("samples", values.samples),
  limit: positiveInteger("limit", values.limit),
  screen: positiveInteger("screen", values.screen),
  seqLen: positiveInteger("seq-len", values["seq-len"]),
};
const threads = positiveInteger("threads", values.threads);
const fractions = values.fractions.split(",").map((text) => positiveNumber("fractions", text));
const settings = { model: basename(model), ...numbers };
const rows = readRows<Row>(`${out}.json`, settings, "--out").map(described);
const { samples, limit, seqLen } = numbers;
const shared = { model: basename(model), samples, limit, seqLen };
const ours = values.quality === undefined ? [] : ownResults(values.quality, shared);
const material = await prepare({ model, calib, texts, ...numbers }, resolve(work));

write();
addRows(DENSE, [0]);
for (const way of WAYS) {
  if (wanted?.includes(way.name) ?? isInstalled(way.source)) addRows(way, fractions);
}
console.log(readFileSync(`${out}.md`, "utf8"));

function isInstalled(source: Source): boolean {
  return source === "optipfair" || source in checkouts;
}

/** Adds the missing rows of a way. */
function addRows(way: Way, fractions: readonly number[]): void {
  const missing = fractions.filter(
    (fraction) => !rows.some((row) => row.way === way.name && row.fraction === fraction),
  );
  if (missing.length === 0) return;
  const version = versionOf(way.source);
  const gradients = way.gradients ? gradientsOf(material) : null;
  const [path, answers] = [join(work!, "request.json"), resolve(work!, "answers.json")];
  const { module, settings: tried } = way;
  const asked = {
    ...material,
    gradients,
    module,
    settings: tried,
    fractions: missing,
    screen: numbers.screen,
  };
  rmSync(answers, { force: true });
  writeFileSync(path, JSON.stringify({ ...asked, answers } satisfies Request));
  const failure = runPython("peer.py", [path]);
  const found = existsSync(answers) ? (JSON.parse(readFileSync(answers, "utf8")) as readonly Answer[]) : [];
  const { name, removes } = way;
  for (const answer of found) rows.push({ way: name, removes, version, ...answer });
  write();
  if (failure !== null) throw new Error(`${way.name}: ${failure}`);
}

/** Path of the gradients, which are computed when there are none. */
function gradientsOf({ model, calibration }: Material): string {
  const path = resolve(work!, "gradients.pt");
  if (existsSync(path)) return path;
  const failure = runPython("gradients.py", [model, calibration, `${path}.tmp`]);
  if (failure !== null) throw new Error(`gradients: ${failure}`);
  renameSync(`${path}.tmp`, path);
  return path;
}

/** Runs a program of this benchmark. @returns how it failed; null when it did not */
function runPython(program: string, args: readonly string[]): string | null {
  const paths = [process.env.PYTHONPATH, ...Object.values(checkouts)].filter(Boolean).join(":");
  const { status, signal, error } = spawnSync(python!, [join(HERE, program), ...args], {
    env: { ...withArrayMemory(process.env), PYTHONPATH: paths, OMP_NUM_THREADS: `${threads}` },
    stdio: ["ignore", "inherit", "inherit"],
  });
  return status === 0 ? null : `${program} ended with ${error?.message ?? signal ?? status}`;
}

/** Version of an installed package, or commit of a checkout. */
function versionOf(source: Source): string {
  if (source === "none") return "";
  const program = `from importlib.metadata import version; print(version("${source}"))`;
  const [command, args] =
    source === "optipfair"
      ? [python!, ["-c", program]]
      : ["git", ["-C", checkouts[source] ?? "", "rev-parse", "--short=7", "HEAD"]];
  const { status, stdout } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0)
    throw new Error(`${source}: expected ${source === "optipfair" ? "the package" : "a git checkout"}`);
  return stdout.trim();
}

/** A row with its way's present description. */
function described(row: Row): Row {
  return { ...row, removes: WAYS.find(({ name }) => name === row.way)?.removes ?? row.removes };
}

function write(): void {
  mkdirSync(dirname(out), { recursive: true });
  writeRows(`${out}.json`, settings, rows);
  writeFileSync(`${out}.md`, markdown(rows, ours));
}
