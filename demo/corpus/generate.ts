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
import { KINDS } from "./kinds.ts";
import { partsOf } from "./parts.ts";

const TRAIN_BYTES = 6_000_000;

function write(folder: string, kind: string, text: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${kind}.txt`), text);
}

function main(outDir: string, trainBytes: number): void {
  const texts = fileURLToPath(new URL("../texts", import.meta.url));
  for (const kind of Object.keys(KINDS)) {
    const { heldout, calibration, train } = partsOf(kind, trainBytes);
    write(join(texts, "heldout"), kind, heldout);
    write(join(texts, "calibration"), kind, calibration);
    write(outDir, kind, train);
  }
}

const [outDir, trainBytes] = process.argv.slice(2);
if (outDir === undefined) {
  throw new Error("usage: generate.ts OUT_DIR [TRAIN_BYTES]");
}
main(outDir, Number(trainBytes ?? TRAIN_BYTES));
