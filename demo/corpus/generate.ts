/**
 * Writes the texts of the demo.
 *
 *   node --import tsx demo/corpus/generate.ts OUT_DIR [--train-bytes 6000000]
 *
 * The training texts go to OUT_DIR/KIND.txt and are not kept in the repository. The calibration and held-out texts go
 * to demo/texts. No document occurs in two of the three parts.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseOptions, positiveInteger } from "../../scripts/clients/options.ts";
import { KINDS } from "./kinds.ts";
import { partsOf } from "./parts.ts";

function write(folder: string, kind: string, text: string): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${kind}.txt`), text);
}

function main(outDir: string, trainBytes: number): void {
  const texts = join(import.meta.dirname, "..", "texts");
  for (const kind of Object.keys(KINDS)) {
    const { heldout, calibration, train } = partsOf(kind, trainBytes);
    write(join(texts, "heldout"), kind, heldout);
    write(join(texts, "calibration"), kind, calibration);
    write(outDir, kind, train);
  }
}

const { values, positionals } = parseOptions({
  allowPositionals: true,
  options: { "train-bytes": { type: "string", default: "6000000" } },
});
const [outDir] = positionals;
if (outDir === undefined) throw new Error("usage: demo/corpus/generate.ts OUT_DIR; --help says more");
main(outDir, positiveInteger("train-bytes", values["train-bytes"]));
