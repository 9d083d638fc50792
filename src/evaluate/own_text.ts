/**
 * Calibration sets that the model writes by itself (sample.ts), where there are no texts, or not of the kinds that the
 * model will meet. Until it is written, zeros stand for such a set, so that a run can be planned.
 */

import type { OnProgress } from "../base/progress.ts";
import type { Checkpoints } from "../base/stages.ts";
import { textsOfSet } from "../calibrate/calibrate.ts";
import {
  HELD_OUT_WINDOWS,
  isOwnText,
  loadTokenSet,
  OWN_TEXT,
  type SampledSet,
  type SamplingOptions,
  sampledSet,
  type TextSet,
} from "../calibrate/windows.ts";
import { GpruneError } from "../errors.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { withTextsInErrors } from "../graph/runtime/finite.ts";
import { chatRendererOf } from "../model/tokenizer/chat_template.ts";
import type { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { type SampleState, sampleTexts } from "./sample.ts";

/** Windows beyond those that are needed: text that is cut and tokenised again has a few tokens less. */
const SPARE_WINDOWS = 1;

/** What helps where the model writes nothing to calibrate on. */
const HINT =
  "What this model writes is no text to calibrate on. Name texts instead; prune takes --own-text never.";

/** Number of the first window for a check alone: no set that a plan was decided on has so many. */
const FIRST_CHECKED = 2 ** 30;

/** A set as large as the one that the model is to write. */
export function ownTextToCome(
  name: string,
  { samples, seqLen }: Pick<SamplingOptions, "samples" | "seqLen">,
): SampledSet {
  const window = new Int32Array(seqLen);
  const zeros = (length: number): readonly Int32Array[] => Array.from({ length }, () => window);
  return { name, windows: zeros(samples), heldOut: zeros(HELD_OUT_WINDOWS), unused: [] };
}

/**
 * Writes a set: the one that `gprune generate --sample` and its file would give. One for the check alone has windows
 * that no other set has, since a plan that is carried out may have been decided on own text of the same seed.
 * @param planned - what stands for it; it gets as many windows
 * @throws GpruneError BAD_TEXT when what the model writes has no whole window, NOT_FINITE naming the set
 */
export async function writeOwnText(
  { name, windows, heldOut }: SampledSet,
  { runner, tokenizer }: { readonly runner: DecoderRunner; readonly tokenizer: Tokenizer },
  {
    seqLen,
    seed,
    ...options
  }: Pick<SamplingOptions, "seqLen" | "seed"> & {
    readonly onProgress?: OnProgress;
    readonly checkpoints?: Checkpoints<SampleState>;
  },
): Promise<SampledSet> {
  const count = windows.length + heldOut.length + SPARE_WINDOWS;
  const first = windows.length === 0 ? FIRST_CHECKED : 0;
  const how = { count, first, tokens: seqLen, temperature: 1, topP: 1, seed };
  const own = await withTextsInErrors(textsOfSet({ name }), () =>
    sampleTexts(runner, tokenizer, { ...options, ...how }),
  );
  const text = own.flat().join("\n\n");
  const sampling = { samples: windows.length, seqLen, seed };
  try {
    return { ...sampledSet({ name, path: OWN_TEXT, text }, tokenizer, sampling), unused: [] };
  } catch (error) {
    throw isBadText(error) ? error.inOtherWords({ hint: HINT }) : error;
  }
}

function isBadText(error: unknown): error is GpruneError {
  return error instanceof GpruneError && error.code === "BAD_TEXT";
}

/** A set, read or, when it is the model's own text, written. */
export function gatherTokenSet(
  set: TextSet,
  writer: { readonly runner: DecoderRunner; readonly tokenizer: Tokenizer },
  sampling: SamplingOptions & { readonly onProgress?: OnProgress },
): Promise<SampledSet> {
  if (!isOwnText(set)) {
    const renderer = () => chatRendererOf(writer.runner.model);
    return loadTokenSet(set, writer.tokenizer, { ...sampling, renderer });
  }
  return writeOwnText(ownTextToCome(set.name, sampling), writer, sampling);
}
