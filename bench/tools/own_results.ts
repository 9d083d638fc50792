/** Results of gprune for the summary, from the file that quality.ts keeps. */
import { readFileSync } from "node:fs";
import type { Settings } from "../quality/results.ts";
import type { Row } from "../quality/table.ts";
import type { Result } from "./table.ts";

/** Recoveries of the rows to show: both decide on the same windows as the tools. */
const RECOVERIES: Readonly<Record<string, string>> = {
  bias: "gprune, with biases",
  "lstsq:48": "gprune, the default",
};

/** The default metric of `gprune prune`. */
const METRIC = "flap-wifv";

/**
 * Rows of GPrune on all sets.
 * @param wanted - settings that rows must have in common with the tools
 * @throws Error for a file of other settings
 */
export function ownResults(
  path: string,
  wanted: Pick<Settings, "model" | "samples" | "limit" | "seqLen">,
): readonly Result[] {
  const { settings, rows } = JSON.parse(readFileSync(path, "utf8")) as { settings: Settings; rows: Row[] };
  const { model, samples, limit, seqLen } = settings;
  const [has, expected] = [{ model, samples, limit, seqLen }, wanted].map((some) => JSON.stringify(some));
  if (has !== expected) throw new Error(`${path}: expected rows of ${expected}, got ${has}`);
  return Object.entries(RECOVERIES).flatMap(([recovery, way]) =>
    rows
      .filter(({ metric, variant, leftOut, recover }) => {
        return metric === METRIC && variant === "gprune" && leftOut === "" && recover === recovery;
      })
      .map(({ sparsity, achieved, geometricMean }) => ({
        way,
        removes: "KV groups and FFN neurons",
        version: "",
        fraction: sparsity,
        removed: achieved,
        geometricMean,
      })),
  );
}
