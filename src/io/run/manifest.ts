/** The manifest of a run's directory, a list of its valid files, replaced atomically once they are on the disk. */
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

/** File name of the manifest. */
export const MANIFEST = "manifest.json";
/** Directory beside the manifest with the files of the output. */
export const OUTPUT = "output";
const LIMITS = { maxBytes: 2 ** 26, maxDepth: 64 };

/** A valid file. */
export interface Entry {
  /** Name in the run's directory. */
  readonly file: string;
  readonly bytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
  /** Time that its computation took. */
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

/** Settings and inputs of a run. */
export interface Dependencies {
  /** Facts that all results depend on. */
  readonly facts: JsonValue;
  /** Settings that only the files of the output depend on. */
  readonly written: JsonValue;
  /** Resource limits, on which no result depends. */
  readonly limits: JsonValue;
}

/** The content of the manifest on the disk. */
export class RunManifest {
  readonly #path: string;
  #dependencies: Dependencies;
  #entries: ReadonlyMap<string, Entry>;
  #isKnown = true;

  private constructor(path: string, content: Content | null) {
    this.#path = path;
    const { facts, written, limits } = content ?? { facts: null, written: null, limits: null };
    this.#dependencies = { facts, written, limits };
    this.#entries = entriesOf(content);
  }

  /** Reads the manifest. @throws GpruneError BAD_CHECKPOINT when it is damaged, BAD_FILE when it cannot be read */
  static async open(directory: string): Promise<RunManifest> {
    const path = join(directory, MANIFEST);
    return new RunManifest(path, await readContent(path));
  }

  /** Settings and inputs of the run, each null when there is no manifest. */
  get dependencies(): Dependencies {
    return this.#dependencies;
  }

  /** Sets the dependencies. Drops the entries of output files if `written` has changed. */
  begin(dependencies: Dependencies): void {
    if (differences(this.#dependencies.written, dependencies.written).length > 0) {
      this.#entries = new Map([...this.#entries].filter(([, { file }]) => !file.startsWith(`${OUTPUT}/`)));
    }
    this.#dependencies = dependencies;
  }

  /** Entries by name of the stage, state or output file. */
  get entries(): ReadonlyMap<string, Entry> {
    return this.#entries;
  }

  /** False after a failure that leaves the content of the file unknown. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** Removes all entries from memory; the file is not changed. */
  clear(): void {
    this.#entries = new Map();
  }

  /**
   * Adds an entry, drops another and writes the file. After OUTPUT_FAILED the entries are those on the disk.
   * @throws GpruneError OUTPUT_FAILED
   */
  async put(name: string, entry: Entry, dropped = ""): Promise<void> {
    const entries = new Map(this.#entries);
    entries.delete(dropped);
    entries.set(name, entry);
    const content = {
      format: "gprune-run",
      version: 1,
      ...this.#dependencies,
      entries: Object.fromEntries(entries),
    };
    try {
      failPoint("before-manifest", this.#path);
      await writeFileAtomically(this.#path, `${JSON.stringify(content, null, 1)}\n`);
      this.#entries = entries;
    } catch (cause) {
      await this.#reload();
      throw outputFailed(this.#path, cause);
    }
  }

  async #reload(): Promise<void> {
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

/**
 * The content of a manifest; null when there is none.
 * @throws GpruneError BAD_CHECKPOINT when it is damaged, BAD_FILE when it cannot be read
 */
async function readContent(path: string): Promise<Content | null> {
  if ((await kindOfPath(path)) === "missing") return null;
  try {
    return manifestSchema.parse(await readJsonFile(path, LIMITS));
  } catch (cause) {
    if (cause instanceof GpruneError && errnoOf(cause.cause) !== undefined) throw cause;
    throw new GpruneError("BAD_CHECKPOINT", `${path}: expected the manifest of a run, got something else`, {
      hint: "It is damaged or from another version of gprune; remove its directory to start over.",
      cause,
    });
  }
}
