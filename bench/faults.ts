/**
 * Injects a fault at every single disk access of a small run, and prints how many faults it survived.
 *
 *   node --import tsx bench/faults.ts [--step 1]
 *
 * After every fault the disk must have the old state or the new one, and the resumed run must end with the bytes of an
 * undisturbed run; the first violation ends the walk. With --step N only every N-th access is tried; without it the
 * walk takes about a quarter of an hour.
 */
import { parseOptions, positiveInteger } from "../scripts/clients/options.ts";
import { withScratch } from "../scripts/clients/scratch.ts";
import { prepareFaultRun } from "../test/fault_run.ts";
import {
  chainErrors,
  chainKills,
  KINDS,
  undisturbed,
  walkErrors,
  walkShortCalls,
} from "../test/fault_walk.ts";

const { values } = parseOptions({ options: { step: { type: "string", default: "1" } } });
const step = positiveInteger("step", values.step);
await withScratch("faults", async (root) => {
  const run = await prepareFaultRun(root);
  const expected = await undisturbed(run);
  const walks: Readonly<Record<string, () => Promise<number>>> = {
    "full disk, each time a fresh run": () => walkErrors(run, expected, { ...KINDS["full disk"], step }),
    "failing write, flush or rename, each time a fresh run": () =>
      walkErrors(run, expected, { ...KINDS["failing writes"], step }),
    "failing disk, one run again and again": () =>
      chainErrors(run, expected, { ...KINDS["failing disk"], step }),
    "reads and writes of a single byte": () => walkShortCalls(run, expected, 3),
    "killed processes, one run again and again": () => chainKills(run, expected, step),
  };
  let total = 0;
  for (const [name, walk] of Object.entries(walks)) {
    const faults = await walk();
    total += faults;
    console.log(`${String(faults).padStart(6)}  ${name}`);
  }
  console.log(`${String(total).padStart(6)}  faults survived`);
});
