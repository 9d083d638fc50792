import { afterAll, expect, test } from "vitest";
import { mapValues } from "../../base/map_values.ts";
import { multipliesBlocks } from "./block_check.ts";
import { type FilledProgram, Runtime } from "./runtime.ts";

/** A runtime that alters its results. */
class Other extends Runtime {
  readonly #change: (value: number, output: string) => number;

  constructor(change: (value: number, output: string) => number) {
    super({ threads: 1 });
    this.#change = change;
  }

  override async filledProgram(...definition: Parameters<Runtime["filledProgram"]>): Promise<FilledProgram> {
    const program = await super.filledProgram(...definition);
    return {
      ...program,
      run: async (feeds) =>
        mapValues(await program.run(feeds), ({ shape, data }, output) => {
          return { shape, data: data.map((value) => this.#change(value, output)) };
        }),
    };
  }
}

const runtimes: Runtime[] = [];
afterAll(() => Promise.all(runtimes.map((runtime) => runtime.close())));

async function answerOf(change: (value: number, output: string) => number): Promise<boolean> {
  const runtime = new Other(change);
  runtimes.push(runtime);
  return multipliesBlocks(runtime);
}

const unchanged = await answerOf((value) => value);

test("computes the trial product once for each runtime", async () => {
  let values = 0;
  const runtime = new Other((value) => {
    values++;
    return value;
  });
  runtimes.push(runtime);
  const answer = await multipliesBlocks(runtime);
  const tried = values;
  expect(await multipliesBlocks(runtime)).toBe(answer);
  expect([tried > 0, values]).toEqual([true, tried]);
});

test.runIf(unchanged)("does not believe sums that overflow", async () => {
  expect(await answerOf((value) => Math.max(-9000, Math.min(9000, value)))).toBe(false);
});

test.runIf(unchanged)(
  "notices that nothing is rounded, so that weights become float32 for every product",
  async () => {
    let exact: number[] = [];
    // The two rows come first, and are nearly exact.
    const answer = await answerOf((value, output) => {
      if (output === "oneRow") return exact.shift()!;
      exact = exact.length >= 32 ? [value] : [...exact, value];
      return value;
    });
    expect(answer).toBe(false);
  },
);
