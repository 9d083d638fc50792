/** The peer of gprune; see jobs.ts. */
import { readFileSync, writeFileSync } from "node:fs";
import { calibrate, type TokenSet } from "../../src/calibrate/calibrate.ts";
import { gateGradients, type WindowGradients } from "../../src/calibrate/gate_gradients.ts";
import { type CalibrationStats, mergeStats } from "../../src/calibrate/stats.ts";
import { perplexity } from "../../src/evaluate/perplexity.ts";
import { DecoderRunner } from "../../src/graph/decoder/decoder_runner.ts";
import { Runtime } from "../../src/graph/runtime/runtime.ts";
import { peakResidentBytes } from "../../src/io/files/machine.ts";
import { openModel } from "../../src/model/checkpoint/checkpoint.ts";
import { spacesOf } from "../../src/model/spaces.ts";
import { scoreModel } from "../../src/score/importance.ts";
import { metricByName } from "../../src/score/registry.ts";
import { bareBackward, bareForward } from "../bare_products.ts";
import type { Answer, Request, Windows } from "./jobs.ts";

type Values = Answer["values"];

/** The timed part of a job; gives a function for the untimed part, which computes the values. */
type Work = (peer: Peer) => Promise<() => Promise<Values> | Values>;

interface Peer {
  readonly runner: DecoderRunner;
  readonly runtime: Runtime;
  readonly sets: readonly TokenSet[];
}

const WORK: Readonly<Record<Request["job"], Work>> = {
  calibrate: async ({ runner, sets }) => {
    const stats = await calibrate(runner, sets);
    return () => scores(runner, [...stats.values()]);
  },
  gradients: async ({ runner, sets }) => {
    const gradients = await gateGradients(runner, windowsOf(sets));
    return () => ({
      gates: joinedGates(runner, gradients),
      loss: { windows: gradients.map(({ loss }) => loss) },
    });
  },
  evaluate: async ({ runner, sets }) => {
    const ppl: Record<string, readonly number[]> = {};
    for (const { name, windows } of sets) ppl[name] = [(await perplexity(runner, windows)).ppl];
    return () => ({ ppl });
  },
  bare: async ({ runner, runtime, sets }) => {
    const windows = windowsOf(sets);
    const seqLen = windows[0]!.length;
    const pass = { spec: runner.model.spec, seqLen, tokens: windows.length * seqLen };
    const calibrate = [await bareForward(runtime, pass)];
    const gradients = [await bareBackward(runtime, pass)];
    return () => ({ seconds: { calibrate, gradients } });
  },
};

async function scores({ model }: DecoderRunner, sets: readonly CalibrationStats[]): Promise<Values> {
  const stats = sets.reduce(mergeStats);
  const values: Record<string, Record<string, readonly number[]>> = {};
  for (const name of ["flap-wifv", "wanda-sp"]) {
    const importance = await scoreModel({ model, metric: metricByName(name), stats, seed: 0 });
    values[name] = Object.fromEntries(Array.from(importance, ([id, channels]) => [id, [...channels]]));
  }
  return values;
}

function joinedGates(
  { model }: DecoderRunner,
  gradients: readonly WindowGradients[],
): Record<string, readonly number[]> {
  const spaces = spacesOf(model.spec);
  return Object.fromEntries(
    spaces.map(({ id }) => [id, gradients.flatMap(({ gates }) => [...gates.get(id)!])]),
  );
}

function windowsOf(sets: readonly TokenSet[]): readonly Int32Array[] {
  return sets.flatMap(({ windows }) => windows);
}

async function main(path: string): Promise<void> {
  const request = JSON.parse(readFileSync(path, "utf8")) as Request;
  const windows = JSON.parse(readFileSync(request.windows, "utf8")) as Windows;
  const sets = Object.entries(windows).map(([name, ofSet]) => {
    return { name, windows: ofSet.map((ids) => Int32Array.from(ids)) };
  });
  const runtime = new Runtime({ threads: request.threads });
  const model = await openModel(request.model);
  const runner = new DecoderRunner(model, runtime);
  const startBytes = peakResidentBytes();
  const start = performance.now();
  const finish = await WORK[request.job]({ runner, runtime, sets });
  const seconds = (performance.now() - start) / 1000;
  const peakBytes = peakResidentBytes();
  const answer: Answer = { seconds, startBytes, peakBytes, values: await finish() };
  writeFileSync(request.answer, JSON.stringify(answer));
  await runtime.close();
  await model.weights.close();
}

await main(process.argv[2]!);
