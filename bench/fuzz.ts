/**
 * Fuzzes all readers of untrusted files with generated inputs, and prints the results.
 *
 *   node --import tsx bench/fuzz.ts [--inputs 100000] [--seed 1] [--only NAME]
 *
 * Each input must be read or refused with a `GpruneError`, within 2 seconds of processor time, without allocating more
 * than 8 times the size of the files (16 times where data is decoded to float32). Exits with 1 on a failure; the first
 * failure of each reader is shrunk and printed with the seed that reproduces it.
 */
import { parseOptions, positiveInteger } from "../scripts/clients/options.ts";
import { withScratch } from "../scripts/clients/scratch.ts";
import { fuzz } from "./fuzz/harness.ts";
import { FUZZ_TARGETS } from "./fuzz/targets.ts";

const { values } = parseOptions({
  options: {
    inputs: { type: "string", default: "100000" },
    seed: { type: "string", default: "1" },
    only: { type: "string" },
  },
});

const totalInputs = positiveInteger("inputs", values.inputs);
const seed = positiveInteger("seed", values.seed);
const targets = FUZZ_TARGETS.filter(({ name }) => values.only === undefined || name === values.only);
if (targets.length === 0) {
  const names = FUZZ_TARGETS.map(({ name }) => name).join(", ");
  throw new Error(`--only: expected one of ${names}, got ${values.only}`);
}
const shares = targets.reduce((sum, { share }) => sum + share, 0);
let total = 0;
let failures = 0;
await withScratch("fuzz", async (directory) => {
  for (const target of targets) {
    const inputs = Math.ceil((totalInputs * target.share) / shares);
    const start = performance.now();
    const result = await fuzz(target, { inputs, seed, directory });
    const seconds = ((performance.now() - start) / 1000).toFixed(0);
    const { inputs: done, accepted, slowest, failure } = result;
    console.log(
      `${target.name.padEnd(12)} ${done} inputs, ${accepted} read, ${done - accepted} refused, ` +
        `slowest ${slowest.toFixed(0)} ms, ${seconds} s${failure === null ? "" : `\nFAILED\n${failure}`}`,
    );
    total += done;
    if (failure !== null) failures += 1;
  }
});
console.log(`${total} inputs, ${failures === 0 ? "no failure" : `${failures} readers failed`}`);
if (failures > 0) process.exitCode = 1;
