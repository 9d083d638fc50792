/**
 * Gives generated files to a reader and judges what happens: an answer or a `GpruneError` that is no bug of ours,
 * within two seconds of processor time, with memory in proportion to the files.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { GpruneError } from "../../src/errors.ts";
import { AllocationMeter } from "./meter.ts";
import { Watchdog } from "./watchdog.ts";

/** Files by their names. */
export type Files = Readonly<Record<string, Uint8Array>>;

/** A reader with files for it. */
export interface FuzzTarget {
  readonly name: string;
  /** How many of all inputs it gets, relative to the others. */
  readonly share: number;
  readonly files: fc.Arbitrary<Files>;
  /**
   * Opens what is in the directory; the result reads the data that the headers describe, if there is any. Throws a
   * `GpruneError` for bad files, any other error for a broken promise.
   */
  readonly open: (directory: string) => Promise<(() => Promise<void>) | undefined>;
}

/** What came of a target. */
export interface FuzzResult {
  readonly target: string;
  readonly inputs: number;
  /** Inputs that were read, not refused. */
  readonly accepted: number;
  /** The most expensive input, milliseconds of processor time. */
  readonly slowest: number;
  /** The first failure, shrunk; null when there is none. */
  readonly failure: string | null;
}

/** Milliseconds of processor time for one input; a clock would measure what else the machine does. */
const MAX_TIME = 2000;
/** Bytes allocated per byte of the files while they are opened, and while data is decoded to float32. */
const MAX_FACTOR = { open: 8, read: 16 } as const;
/** Allocations that have nothing to do with the size of a file, bytes: buffers of readers; pages of the heap. */
const FREE = { arrays: 2 ** 20, resident: 2 ** 27 } as const;

interface Tally {
  inputs: number;
  accepted: number;
  slowest: number;
}

/** Runs a target on `inputs` generated inputs in a directory of its own. */
export async function fuzz(
  target: FuzzTarget,
  { inputs, seed, directory }: { readonly inputs: number; readonly seed: number; readonly directory: string },
): Promise<FuzzResult> {
  const tally: Tally = { inputs: 0, accepted: 0, slowest: 0 };
  const watchdog = new Watchdog();
  const meter = new AllocationMeter();
  try {
    const property = fc.asyncProperty(target.files, async (files) => {
      watchdog.next();
      await judge(target, { files, directory: join(directory, `${tally.inputs}`), meter, tally });
    });
    const details = await fc.check(property, { numRuns: inputs, seed });
    const failure = details.failed ? describe(details) : null;
    return { target: target.name, ...tally, failure };
  } finally {
    meter.stop();
    await watchdog.stop();
  }
}

interface Trial {
  readonly files: Files;
  readonly directory: string;
  readonly meter: AllocationMeter;
  readonly tally: Tally;
}

/** @throws Error when a promise is broken */
async function judge(target: FuzzTarget, { files, directory, meter, tally }: Trial): Promise<void> {
  mkdirSync(directory, { recursive: true });
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(directory, name), bytes);
  const size = Object.values(files).reduce((sum, { length }) => sum + length, 0);
  const start = process.cpuUsage();
  const check = (phase: keyof typeof MAX_FACTOR): void => {
    const { arrays, resident } = meter.allocation;
    const allowed = MAX_FACTOR[phase] * size;
    if (arrays > allowed + FREE.arrays) throw new Error(`${phase}: ${arrays} bytes of arrays for ${size}`);
    if (resident > allowed + FREE.resident) throw new Error(`${phase}: ${resident} bytes more for ${size}`);
    meter.reset();
  };
  try {
    meter.reset();
    const read = await target.open(directory).catch(refusal);
    check("open");
    const data = read === "refused" ? read : await read?.().catch(refusal);
    check("read");
    if (data !== "refused") tally.accepted += 1;
    const { user, system } = process.cpuUsage(start);
    const time = (user + system) / 1000;
    if (time > MAX_TIME) throw new Error(`${time.toFixed(0)} ms`);
    tally.slowest = Math.max(tally.slowest, time);
  } finally {
    tally.inputs += 1;
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A proper refusal; throws everything else on. */
export function refusal(error: unknown): "refused" {
  const isProper = error instanceof GpruneError && error.code !== "INTERNAL";
  if (!isProper) throw error;
  if (error.message.length > 10_000) throw new Error(`a message of ${error.message.length} characters`);
  return "refused";
}

function describe({
  counterexample,
  errorInstance,
  counterexamplePath,
  seed,
}: fc.RunDetails<[Files]>): string {
  const error = errorInstance instanceof Error ? (errorInstance.stack ?? "") : String(errorInstance);
  const files = Object.entries(counterexample?.[0] ?? {}).map(([name, bytes]) => {
    return `${name}, ${bytes.length} bytes: ${JSON.stringify(Buffer.from(bytes.subarray(0, 600)).toString("latin1"))}`;
  });
  return [error, ...files, `seed ${seed}, path ${counterexamplePath}`].join("\n");
}
