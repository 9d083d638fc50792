import { expect, test } from "vitest";
import { type Chain, type Phase, phasesOf, type Rates, type Work } from "./cost_model.ts";
import { SHAPES } from "./shapes.ts";
import { alone, distributed } from "./simulation.ts";

const unit = (compute: number, move = 0): { compute: number; move: number } => ({ compute, move });
const chain = (...seconds: readonly number[]): Chain => ({
  units: seconds.map((s) => unit(s)),
  reduce: unit(0),
});
const phase = (chains: readonly Chain[], before = unit(0)): Phase => ({ name: "phase", before, chains });

test("a chain takes its own time, chains share workers, and the run goes first and last", () => {
  expect(distributed([phase([chain(1, 2, 3)])], 5).seconds).toBe(6);
  expect(distributed([phase([chain(2), chain(2), chain(2)])], 2).seconds).toBe(4);
  expect(distributed([phase([chain(1, 1), chain(1, 1)])], 2).seconds).toBe(2);
  expect(distributed([phase([chain(1, 1), chain(1, 1)])], 1).seconds).toBe(4);
  expect(distributed([phase([chain(1)], unit(3, 1))], 1).seconds).toBe(5);
  expect(distributed([{ ...phase([chain(1), chain(1), chain(1)]), first: 4 }], 2).seconds).toBe(6);
  const late: Chain = { units: [unit(1, 1)], reduce: unit(2, 1) };
  expect(distributed([phase([late, late])], 2).seconds).toBe(8);
  expect(alone([phase([late, late], unit(3, 1))]).seconds).toBe(9);
});

const RATES: Rates = {
  forward: 1e11,
  backward: 1e11,
  read: 1e9,
  workerStore: 1e9,
  runStore: 1e9,
  add: 1e9,
  compensate: 1e9,
  solve: 1e10,
  overhead: 0.1,
  memory: 2e10,
};
const WORK: Work = {
  shape: SHAPES["7B"]!,
  sets: 5,
  windows: 64,
  seqLen: 1024,
  rounds: 2,
  gradientWindows: 16,
  sparsity: 0.3,
  recovery: "lstsq",
};

test("more workers are never slower, and never more than so many times as fast", () => {
  const phases = phasesOf(WORK, RATES);
  const one = alone(phases).seconds;
  let before = Number.POSITIVE_INFINITY;
  for (const workers of [1, 2, 10, 100]) {
    const { seconds } = distributed(phases, workers);
    expect(seconds).toBeLessThanOrEqual(before);
    expect(one / seconds).toBeLessThan(workers);
    before = seconds;
  }
});

test("a forward pass counts two operations for each parameter and token", () => {
  const [statistics] = phasesOf(WORK, RATES);
  const tokens = WORK.sets * WORK.windows * WORK.seqLen;
  const { hiddenSize: c, neurons: f, layers } = WORK.shape;
  const operations = 2 * tokens * layers * (4 * c * c + 3 * c * f);
  const seconds = alone([
    { ...statistics!, chains: statistics!.chains.map((chain) => ({ ...chain, reduce: unit(0) })) },
  ]);
  expect(seconds.seconds / (operations / RATES.forward)).toBeCloseTo(1, 9);
});

test("what a worker keeps in memory is read once by each, and the rest there and back", () => {
  const slopesWith = (memory: number): Phase =>
    phasesOf(WORK, { ...RATES, memory }).find(({ name }) => name === "slopes")!;
  const bytesOf = ({ chains }: Phase): number =>
    (chains[0]!.units[0]!.move - RATES.overhead) * RATES.workerStore;
  const [nothing, some, all] = [0, RATES.memory, 1e12].map(slopesWith) as [Phase, Phase, Phase];
  const { hiddenSize: c, neurons: f, layers } = WORK.shape;
  // All neurons, and the heads of the widest alternatives.
  const wide = (1 - 0.3 + 0.08) * c;
  const projections = 4 * layers * c * (f + wide);
  const changes = 4 * layers * 2 * 0.08 * (f * (f + c) + c * (wide + c));
  const given = bytesOf(all);
  expect(nothing.first).toBe(0);
  expect((bytesOf(nothing) - given) / (2 * projections + changes)).toBeCloseTo(1, 9);
  expect(all.first! / ((projections + changes) / RATES.workerStore)).toBeCloseTo(1, 9);
  expect(some.first).toBeGreaterThan(projections / RATES.workerStore);
  const held = some.first! * RATES.workerStore;
  expect((bytesOf(some) - given) / (projections + changes - held)).toBeCloseTo(1, 9);
});
