/**
 * The file that says what in a run's directory counts. It is replaced in one step, after all it names is on the disk.
 */
import { join } from "node:path";
import { z } from "zod";
import { GpruneError } from "../../errors.ts";
import { failPoint } from "../files/fail_points.ts";
import { kindOfPath } from "../files/file.ts";
import { readJsonFile } from "../files/json.ts";
import { differences } from "../files/json_difference.ts";
import type { JsonValue } from "../files/json_document.ts";
import { writeFileAtomically } from "../files/output_directory.ts";
import { errnoOf, outputFailed } from "../files/output_file.ts";

export const MANIFEST = "manifest.json";
/** The directory, beside it, of the output's files. */
export const OUTPUT = "output";
const LIMITS = { maxBytes: 2 ** 26, maxDepth: 64 };

/** A file that counts. */
export interface Entry {
  /** Name in the run's directory. */
  readonly file: string;
  readonly bytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
  /** What it took to compute. */
  readonly seconds: number;
}

const entrySchema = z.strictObject({
  file: z.string().regex(/^(output\/)?[A-Za-z0-9][A-Za-z0-9._-]*$/),
  bytes: z.int().nonnegative(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  seconds: z.number().nonnegative(),
});

const manifestSchema = z.strictObject({
  format: z.literal("gprune-run"),
  version: z.literal(1),
  facts: z.json(),
  written: z.json(),
  limits: z.json().default(null),
  entries: z.record(z.string(), entrySchema),
});
type Content = z.infer<typeof manifestSchema>;

/** What a run depends on, and what not. */
export interface Dependencies {
  readonly facts: JsonValue;
  readonly written: JsonValue;
  readonly limits: JsonValue;
}

/** What the manifest on the disk says. */
export class RunManifest {
  readonly #path: string;
  #facts: JsonValue;
  #written: JsonValue;
  #limits: JsonValue;
  #entries: ReadonlyMap<string, Entry>;
  #isKnown = true;

  private constructor(path: string, content: Content | null) {
    this.#path = path;
    this.#facts = content?.facts ?? null;
    this.#written = content?.written ?? null;
    this.#limits = content?.limits ?? null;
    this.#entries = entriesOf(content);
  }

  /** @throws GpruneError BAD_CHECKPOINT when it is damaged, BAD_FILE when it cannot be read */
  static async open(directory: string): Promise<RunManifest> {
    const path = join(directory, MANIFEST);
    return new RunManifest(path, await readContent(path));
  }

  /** What the run depends on; null when nothing counts. */
  get facts(): JsonValue {
    return this.#facts;
  }

  /** What the files of its output depend on besides. */
  get written(): JsonValue {
    return this.#written;
  }

  /** What the run was told to make do with, on which nothing depends. */
  get limits(): JsonValue {
    return this.#limits;
  }

  /** Sets them. Files of an output that depend on something else no longer count. */
  begin({ facts, written, limits }: Dependencies): void {
    if (differences(this.#written, written).length > 0) {
      this.#entries = new Map([...this.#entries].filter(([, { file }]) => !file.startsWith(`${OUTPUT}/`)));
    }
    this.#facts = facts;
    this.#written = written;
    this.#limits = limits;
  }

  /** By name of stage, state or file of the output. */
  get entries(): ReadonlyMap<string, Entry> {
    return this.#entries;
  }

  /** False after a failure that leaves open what is on the disk. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** Forgets all entries, on the disk only when the file is removed. */
  clear(): void {
    this.#entries = new Map();
  }

  /** Adds an entry and drops another. @throws GpruneError OUTPUT_FAILED; what the disk says holds then */
  async put(name: string, entry: Entry, dropped = ""): Promise<void> {
    const entries = new Map(this.#entries);
    entries.delete(dropped);
    entries.set(name, entry);
    const content = {
      format: "gprune-run",
      version: 1,
      facts: this.#facts,
      written: this.#written,
      limits: this.#limits,
      entries: Object.fromEntries(entries),
    };
    try {
      failPoint("before-manifest", this.#path);
      await writeFileAtomically(this.#path, `${JSON.stringify(content, null, 1)}\n`);
      this.#entries = entries;
    } catch (cause) {
      await this.#readAgain();
      throw outputFailed(this.#path, cause);
    }
  }

  async #readAgain(): Promise<void> {
    try {
      this.#entries = entriesOf(await readContent(this.#path));
    } catch {
      this.#isKnown = false;
    }
  }
}

function entriesOf(content: Content | null): ReadonlyMap<string, Entry> {
  return new Map(Object.entries(content?.entries ?? {}));
}

/** Null when there is none. @throws GpruneError BAD_CHECKPOINT when it is damaged, BAD_FILE when it cannot be read */
async function readContent(path: string): Promise<Content | null> {
  if ((await kindOfPath(path)) === "missing") return null;
  try {
    return manifestSchema.parse(await readJsonFile(path, LIMITS));
  } catch (cause) {
    if (cause instanceof GpruneError && errnoOf(cause.cause) !== undefined) throw cause;
    throw new GpruneError("BAD_CHECKPOINT", `${path}: expected the manifest of a run, got something else`, {
      hint: "It is damaged, or of another version of gprune; remove its directory to start anew.",
      cause,
    });
  }
}
