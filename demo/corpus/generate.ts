/**
 * Write the texts of the demo.
 *
 * Usage: node --import tsx demo/corpus/generate.ts OUT_DIR [TRAIN_BYTES]
 *
 * The training texts go to OUT_DIR/<kind>.txt and are not kept in the
 * repository. The calibration and held-out texts go to demo/texts. No document
 * occurs in two of the three parts.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Generator, KINDS } from "./kinds.ts";
import { seedOf } from "./prng.ts";

const SEPARATOR = "\n\n\n";
const CALIBRATION_BYTES = 80_000;
const HELDOUT_BYTES = 36_000;
const TRAIN_BYTES = 6_000_000;

/** A part of the texts: its label seeds the documents. */
interface Part {
  readonly label: string;
  readonly bytes: number;
}

/** Collect documents that have not been seen before until there are enough bytes. */
function collect({ label, bytes }: Part, generator: Generator, seen: Set<string>): string[] {
  const documents: string[] = [];
  let size = 0;
  for (let index = 0; size < bytes; index += 1) {
    const document = generator(seedOf(label, index));
    if (!seen.has(document)) {
      seen.add(document);
      documents.push(document);
      size += Buffer.byteLength(document) + SEPARATOR.length;
    }
  }
  return documents;
}

function write(folder: string, kind: string, documents: readonly string[]): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${kind}.txt`), `${documents.join(SEPARATOR)}\n`);
}

function main(outDir: string, trainBytes: number): void {
  const texts = fileURLToPath(new URL("../texts", import.meta.url));
  for (const [kind, generator] of Object.entries(KINDS)) {
    const seen = new Set<string>();
    const documents = (part: string, bytes: number): string[] =>
      collect({ label: `${kind}/${part}`, bytes }, generator, seen);
    write(join(texts, "heldout"), kind, documents("heldout", HELDOUT_BYTES));
    write(join(texts, "calibration"), kind, documents("calibration", CALIBRATION_BYTES));
    write(outDir, kind, documents("train", trainBytes));
  }
}

const [outDir, trainBytes] = process.argv.slice(2);
if (outDir === undefined) {
  throw new Error("usage: generate.ts OUT_DIR [TRAIN_BYTES]");
}
main(outDir, Number(trainBytes ?? TRAIN_BYTES));
