/**
 * Simulated speed-up of a prune on many workers, from a cost model whose rates are measured on this machine or given.
 *
 *   node --import tsx bench/scale/simulate.ts [--measure 1B --data DIR] [--rates FILE.json] [--scale 16]
 *       [--size 70B] [--sets 8] [--windows 128] [--seq-len 2048] [--rounds 8] [--gradient-windows 64] [--workers 1,10,100]
 *
 * Rates are those of one core by CPU time. --scale: cores of a machine for matrix products, factorisation and reading;
 * sums and products in JavaScript use one core. --store: bytes per second between each machine and the store; --memory:
 * bytes of memory of a machine; --overhead: additional seconds of a unit. Prints the rates, and for each number of
 * workers the time, the speed-up over a single machine, and the shares of the phases.
 */
import { readFileSync } from "node:fs";
import {
  oneOf,
  parseOptions,
  positiveInteger,
  positiveIntegers,
  positiveNumber,
} from "../../scripts/clients/options.ts";
import { phasesOf, type Rates, type Work } from "./cost_model.ts";
import { type CoreRates, measureRates } from "./rates.ts";
import { SHAPES } from "./shapes.ts";
import { alone, distributed, type Played } from "./simulation.ts";

const { values } = parseOptions({
  options: {
    measure: { type: "string" },
    data: { type: "string", default: "bench-data" },
    rates: { type: "string", default: "bench/results/rates.json" },
    scale: { type: "string", default: "16" },
    overhead: { type: "string", default: "0.5" },
    store: { type: "string", default: "1e9" },
    memory: { type: "string", default: "128e9" },
    size: { type: "string", default: "70B" },
    sets: { type: "string", default: "8" },
    windows: { type: "string", default: "128" },
    "seq-len": { type: "string", default: "2048" },
    rounds: { type: "string", default: "8" },
    "gradient-windows": { type: "string", default: "64" },
    workers: { type: "string", default: "1,2,10,30,100,300" },
  },
});

const work: Omit<Work, "recovery"> = {
  shape: SHAPES[oneOf("size", values.size, Object.keys(SHAPES))]!,
  sets: positiveInteger("sets", values.sets),
  windows: positiveInteger("windows", values.windows),
  seqLen: positiveInteger("seq-len", values["seq-len"]),
  rounds: positiveInteger("rounds", values.rounds),
  gradientWindows: positiveInteger("gradient-windows", values["gradient-windows"]),
  sparsity: 0.3,
};
const numbers = positiveIntegers("workers", values.workers);
const scale = positiveNumber("scale", values.scale);
const surroundings = {
  overhead: positiveNumber("overhead", values.overhead),
  workerStore: positiveNumber("store", values.store),
  runStore: positiveNumber("store", values.store),
  memory: positiveNumber("memory", values.memory),
};
const measured = await ratesOf();
console.log(JSON.stringify(measured, null, 2));
const rates: Rates = {
  ...measured,
  ...surroundings,
  forward: scale * measured.forward,
  backward: scale * measured.backward,
  read: scale * measured.read,
  solve: scale * measured.solve,
};
for (const recovery of ["lstsq", "bias"] as const) {
  const phases = phasesOf({ ...work, recovery }, rates);
  const one = alone(phases);
  console.log(`\n--recover ${recovery}: one machine ${hours(one.seconds)} h (${shares(one)})\n`);
  console.log("| workers | hours | speed-up | where the time goes |\n| --- | --- | --- | --- |");
  for (const workers of numbers) {
    const played = distributed(phases, workers);
    const speedUp = (one.seconds / played.seconds).toFixed(1);
    console.log(`| ${workers} | ${hours(played.seconds)} | ${speedUp} | ${shares(played)} |`);
  }
}

async function ratesOf(): Promise<CoreRates> {
  if (values.measure !== undefined)
    return measureRates(oneOf("measure", values.measure, Object.keys(SHAPES)), values.data);
  return JSON.parse(readFileSync(values.rates, "utf8"));
}

function hours(seconds: number): string {
  return (seconds / 3600).toFixed(2);
}

/** Percentages of the time by kind of phase. */
function shares({ phases, seconds }: Played): string {
  const kinds = new Map<string, number>();
  for (const phase of phases) {
    const kind = phase.name.replace(/ \d+$/, "s");
    kinds.set(kind, (kinds.get(kind) ?? 0) + phase.seconds);
  }
  return Array.from(kinds, ([kind, ofKind]) => `${kind} ${((100 * ofKind) / seconds).toFixed(1)} %`).join(
    ", ",
  );
}
