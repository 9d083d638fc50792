/**
 * Runs a reader on generated files and checks that it reads them or throws a `GpruneError` that is no bug, within two
 * seconds of processor time, with memory in proportion to the files.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { GpruneError } from "../../src/errors.ts";
import { AllocationMeter } from "./meter.ts";
import { Watchdog } from "./watchdog.ts";

/** Contents of files by name. */
export type Files = Readonly<Record<string, Uint8Array>>;

/** A reader and a generator of files for it. */
export interface FuzzTarget {
  readonly name: string;
  /** Share of all inputs, relative to other targets. */
  readonly share: number;
  readonly files: fc.Arbitrary<Files>;
  /**
   * Opens the files of the directory; the result, if any, reads the data that the headers describe. Throws a
   * `GpruneError` for bad files; any other error counts as a failure.
   */
  readonly open: (directory: string) => Promise<(() => Promise<void>) | undefined>;
}

/** Outcome of fuzzing a target. */
export interface FuzzResult {
  readonly target: string;
  readonly inputs: number;
  /** Number of inputs that were read, not refused. */
  readonly accepted: number;
  /** Processor time of the slowest input in milliseconds. */
  readonly slowest: number;
  /** The first failure, shrunk; null when there is none. */
  readonly failure: string | null;
}

/** Limit for one input in milliseconds of processor time, which does not depend on other load. */
const MAX_TIME = 2000;
/** Limits for bytes allocated per byte of the files, while they are opened, and while data is decoded to float32. */
const MAX_FACTOR = { open: 8, read: 16 } as const;
/** Allowance in bytes that does not depend on the files: buffers of readers, and pages of the heap. */
const FREE = { arrays: 2 ** 20, resident: 2 ** 27 } as const;

/** Running totals of a target. */
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

/** Runs a target on one input. @throws Error when a limit is exceeded, or the reader fails improperly */
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

/** Accepts a proper refusal. @throws any other error */
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
