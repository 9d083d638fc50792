/** `gprune sensitivity` */
import { namesText } from "../base/lists.ts";
import type { TokenSet } from "../calibrate/calibrate.ts";
import { requireOneOwnText } from "../calibrate/text_sets.ts";
import { requireWindowsFit, windowLength } from "../calibrate/windows.ts";
import { GpruneError } from "../errors.ts";
import { gatherTokenSet } from "../evaluate/own_text.ts";
import { measureSensitivity, type SensitivityReport } from "../gprune/measure_sensitivity.ts";
import type { SpaceSensitivity } from "../gprune/sensitivity_summary.ts";
import { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { writeFileAtomically } from "../io/files/output_directory.ts";
import { requireReplaceableFile } from "../io/files/output_place.ts";
import type { Model } from "../model/model.ts";
import { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { sensitivityPicture } from "../report/charts/sigma.ts";
import { pictureFile, requirePictureName } from "../report/picture.ts";
import { metricByName } from "../score/registry.ts";
import { print, printJson, say, table } from "./terminal.ts";
import { parseMeasuredSets, requireCalibration } from "./text_sets.ts";
import { type ComputingOptions, withModels } from "./with_models.ts";

interface SensitivityOptions extends ComputingOptions {
  readonly calib: readonly string[];
  readonly metric: string;
  readonly samples: number;
  readonly seqLen?: number;
  readonly seed: number;
  readonly json?: boolean;
  readonly picture?: string;
}

export async function sensitivityAction(path: string, options: SensitivityOptions): Promise<void> {
  const { samples, seed } = options;
  const metric = metricByName(options.metric, "--metric");
  if (metric.input === "weights") {
    throw new GpruneError("BAD_ARGUMENT", `--metric: expected a metric that uses texts, got ${metric.name}`, {
      hint: "A metric of the weights alone ranks units the same for every set.",
    });
  }
  if (options.picture !== undefined) await requirePicture(options.picture);
  const texts = parseMeasuredSets(options.calib, "--calib");
  if (texts.length < 2) {
    throw new GpruneError("BAD_ARGUMENT", `--calib: expected at least two sets, got ${texts.length}`, {
      hint: "Sensitivity is how much ranks differ between sets.",
    });
  }
  requireOneOwnText(texts, "--calib");
  await requireCalibration(texts);
  const report = await withModels([path], options, async ({ models, runtime, onProgress }) => {
    const [model] = models as [Model];
    const seqLen = windowLength([model], options.seqLen);
    requireWindowsFit(model, seqLen);
    const sets: TokenSet[] = [];
    const writer = { runner: new DecoderRunner(model, runtime), tokenizer: Tokenizer.of(model) };
    const sampling = { samples, seqLen, seed, onProgress };
    for (const text of texts) sets.push(await gatherTokenSet(text, writer, sampling));
    return measureSensitivity({ model, runtime, sets, metric, seed, onProgress });
  });
  // Printed first, so that it is not lost if writing the picture fails.
  if (options.json) printJson(report);
  else print(tableOf(report));
  if (options.picture !== undefined) await draw(report, options.picture);
}

/** @throws GpruneError BAD_ARGUMENT, OUTPUT_EXISTS or OUTPUT_FAILED where the picture cannot be written */
async function requirePicture(path: string): Promise<void> {
  requirePictureName(path);
  await requireReplaceableFile(path);
}

/** Writes the picture; an existing file is replaced. */
async function draw({ model, metric, sets, spaces }: SensitivityReport, path: string): Promise<void> {
  const title = `${model}: ${metric} over ${namesText(sets)}`;
  await writeFileAtomically(path, await pictureFile(sensitivityPicture(spaces, { title }), path));
  say(`picture: ${path}`);
}

/** Characters for sigma, from 0 to {@link DARKEST_SIGMA} and above. */
const SHADES = ".:-=+*#%@";
const DARKEST_SIGMA = 0.3;

function tableOf({ model, metric, sets, spaces }: SensitivityReport): string {
  const header = ["space", "units", "Kendall W", "mean sigma", "p90", "max", "sigma by rank"];
  const rows = spaces.map((space) => [
    space.space,
    String(space.units),
    space.kendallW.toFixed(3),
    space.meanSigma.toFixed(3),
    space.sigmaQuantiles.p90.toFixed(3),
    space.sigmaQuantiles.max.toFixed(3),
    `|${shadesOf(space)}|`,
  ]);
  return [
    `${model}, ${metric} over ${namesText(sets)}`,
    table([header, ...rows]),
    "",
    "Kendall W: 1 when all sets rank the units alike. sigma: standard deviation of a unit's rank (0 to 1) over the sets.",
    `sigma by rank: least important units left, most important right; darker is more sensitive (${SHADES}), blank where there is no unit.`,
  ].join("\n");
}

function shadesOf({ sigmaByRank }: SpaceSensitivity): string {
  return sigmaByRank
    .map((sigma) => {
      if (sigma === null) return " ";
      return SHADES[Math.min(SHADES.length - 1, Math.floor((sigma / DARKEST_SIGMA) * SHADES.length))]!;
    })
    .join("");
}
