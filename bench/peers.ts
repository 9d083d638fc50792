/**
 * Compares time, memory and results of calibration, gate gradients and perplexity in gprune with PyTorch and
 * transformers, on the same tokens in the same run.
 *
 *   node --import tsx bench/peers.ts MODEL --calib DIR --texts DIR [--python PATH] [--windows 1] [--eval-windows 2]
 *       [--seq-len 512] [--batch 2] [--rounds 3] [--casting-rounds 1] [--threads N] [--out bench/results/peers]
 *
 * DIR holds texts NAME.txt, of which the first windows are used. Both sides get the model in float32. Every round does
 * every job on every side once, each in a process of its own; the order of the sides rotates from round to round. The
 * bare matrix products (bare_products.ts) have a process too. Only the job is timed: programs are started and PyTorch's
 * weights loaded before; gprune reads its weights while the clock runs. Peak memory is that of the whole process. All
 * have the same malloc settings (`withArrayMemory`). bfloat16 autocast takes part only in the last rounds, since it is
 * slow on processors without instructions for it. PATH.md and PATH.json get the tables after every round. Without
 * --python a virtual environment of some GB is made in scripts/clients. Measure on an idle machine: its load at the
 * start is recorded.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { availableParallelism, loadavg } from "node:os";
import { basename, dirname, join } from "node:path";
import { installPython, pythonVersions } from "../scripts/clients/clients.ts";
import { parseOptions, positiveInteger, threadsOf } from "../scripts/clients/options.ts";
import { withScratch } from "../scripts/clients/scratch.ts";
import { machine } from "../scripts/clients/table.ts";
import { computingProcess, withArrayMemory } from "../src/io/files/machine.ts";
import { type Answer, JOBS, type Precision, type Request } from "./peers/jobs.ts";
import { type Material, prepare } from "./peers/material.ts";
import { type Round, rowsOf, SIDES, type Side, targetsOf } from "./peers/summary.ts";
import { rowTable, targetTable } from "./peers/table.ts";

const HERE = import.meta.dirname;
const OWN = {
  command: process.execPath,
  args: [...computingProcess(["--import", "tsx"]).execArgv, join(HERE, "peers", "own_peer.ts")],
};
const PRECISIONS: Readonly<Record<Side, Precision>> = {
  gprune: "float32",
  "PyTorch float32": "float32",
  "PyTorch bfloat16 autocast": "bfloat16",
};

interface Settings {
  readonly seqLen: number;
  /** Windows in a batch of PyTorch; gprune makes micro-batches of 1024 tokens. */
  readonly batch: number;
  readonly rounds: number;
  readonly castingRounds: number;
  readonly threads: number;
  readonly python: string;
  readonly versions: ReturnType<typeof pythonVersions>;
  /** Load average of the machine at the start. */
  readonly load: number;
}

/** Has a peer do a job in a process of its own. @throws Error when the peer fails */
function ask(
  { command, args }: { readonly command: string; readonly args: readonly string[] },
  scratch: string,
  request: Omit<Request, "answer">,
): Answer {
  const [path, answer] = [join(scratch, "request.json"), join(scratch, "answer.json")];
  writeFileSync(path, JSON.stringify({ ...request, answer } satisfies Request));
  const { status, signal, error } = spawnSync(command, [...args, path], {
    // As the gprune command starts its computing process.
    env: withArrayMemory(process.env),
    stdio: ["ignore", "inherit", "inherit"],
  });
  if (status !== 0) {
    const ending = error?.message ?? signal ?? status;
    throw new Error(`${request.job}: ${basename(command)} ended with ${ending}`);
  }
  return JSON.parse(readFileSync(answer, "utf8")) as Answer;
}

function measureRound(round: number, material: Material, settings: Settings): Round {
  const { batch, threads, python, rounds, castingRounds } = settings;
  const { model, windows, scratch } = material;
  const torch = { command: python, args: [join(HERE, "peers", "torch_peer.py")] };
  const request = (job: Request["job"], side: Side): Omit<Request, "answer"> => ({
    job,
    model,
    windows: windows[job === "bare" ? "calibrate" : job],
    batch,
    threads,
    precision: PRECISIONS[side],
  });
  const casting = round >= rounds - castingRounds;
  const sides = SIDES.filter((side) => casting || PRECISIONS[side] === "float32");
  const start = round % sides.length;
  const order = [...sides.slice(start), ...sides.slice(0, start)];
  const bare = ask(OWN, scratch, request("bare", "gprune")).values.seconds!;
  const answers = JOBS.map((job) => {
    const bySide = order.map((side) => {
      return [side, ask(side === "gprune" ? OWN : torch, scratch, request(job, side))] as const;
    });
    console.error(bySide.map(([side, { seconds }]) => `${job}, ${side}: ${seconds.toFixed(1)} s`).join("; "));
    return [job, Object.fromEntries(bySide)] as const;
  });
  return {
    answers: Object.fromEntries(answers) as Round["answers"],
    bare: { calibrate: bare.calibrate![0]!, gradients: bare.gradients![0]! },
  };
}

function report(
  rounds: readonly Round[],
  { tokens }: Material,
  settings: Settings,
): { text: string; json: string } {
  const rows = rowsOf(rounds, tokens);
  const targets = targetsOf(rounds, rows);
  const { seqLen, batch, threads, load, versions } = settings;
  const castingRounds = rounds.filter(({ answers }) => answers.calibrate["PyTorch bfloat16 autocast"]).length;
  const conditions = { seqLen, batch, rounds: rounds.length, castingRounds, threads, versions, load };
  const head =
    `${machine()}, ${threads} threads, load ${load.toFixed(2)} at the start; torch ${versions.torch}, transformers ` +
    `${versions.transformers}; windows of ${seqLen} tokens, ${batch} at a time: ${tokens.calibrate} tokens to calibrate, ` +
    `${tokens.evaluate} to evaluate; ${rounds.length} rounds, ${castingRounds} with casting. Median (range).`;
  return {
    text: `${head}\n\n${rowTable(rows)}\n\n${targetTable(targets)}\n`,
    json: `${JSON.stringify({ machine: machine(), ...conditions, rows, targets }, null, 1)}\n`,
  };
}

async function main(): Promise<void> {
  const { values, positionals } = parseOptions({
    allowPositionals: true,
    options: {
      calib: { type: "string" },
      texts: { type: "string" },
      python: { type: "string" },
      windows: { type: "string", default: "1" },
      "eval-windows": { type: "string", default: "2" },
      "seq-len": { type: "string", default: "512" },
      batch: { type: "string", default: "2" },
      rounds: { type: "string", default: "3" },
      "casting-rounds": { type: "string", default: "1" },
      threads: { type: "string" },
      out: { type: "string", default: join("bench", "results", "peers") },
    },
  });
  const [model] = positionals;
  const { calib, texts, out } = values;
  if (model === undefined || calib === undefined || texts === undefined) {
    throw new Error("usage: bench/peers.ts MODEL --calib DIR --texts DIR; --help says more");
  }
  const number = (
    name: "windows" | "eval-windows" | "seq-len" | "batch" | "rounds" | "casting-rounds",
  ): number => positiveInteger(name, values[name]);
  const counts = { windows: number("windows"), evalWindows: number("eval-windows") };
  const sizes = {
    seqLen: number("seq-len"),
    batch: number("batch"),
    rounds: number("rounds"),
    castingRounds: number("casting-rounds"),
    threads: threadsOf(values.threads) ?? availableParallelism(),
  };
  const python = values.python ?? installPython();
  const settings: Settings = { ...sizes, python, versions: pythonVersions(python), load: loadavg()[0]! };
  await withScratch("peers", async (scratch) => {
    const material = await prepare({ model, calib, texts, ...counts, seqLen: settings.seqLen }, scratch);
    mkdirSync(dirname(out), { recursive: true });
    const rounds: Round[] = [];
    while (rounds.length < settings.rounds) {
      rounds.push(measureRound(rounds.length, material, settings));
      const { text, json } = report(rounds, material, settings);
      writeFileSync(`${out}.md`, text);
      writeFileSync(`${out}.json`, json);
    }
    console.log(readFileSync(`${out}.md`, "utf8"));
  });
}

await main();
