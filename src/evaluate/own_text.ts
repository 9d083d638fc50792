/**
 * Calibration sets that the model generates itself (generated_texts.ts), where there are no texts, or none of the kinds
 * that the model will be used on. Until it is generated, a set of zeros stands for it, so that a run can be planned.
 */

import type { OnProgress } from "../base/progress.ts";
import type { Checkpoints } from "../base/stages.ts";
import { calibrationSetText } from "../calibrate/calibrate.ts";
import { isOwnText, OWN_TEXT, type TextSet } from "../calibrate/text_sets.ts";
import {
  HELD_OUT_WINDOWS,
  loadTokenSet,
  type SampledSet,
  type SamplingOptions,
  sampledSet,
} from "../calibrate/windows.ts";
import { hasCode } from "../errors.ts";
import type { DecoderRunner } from "../graph/decoder/decoder_runner.ts";
import { withTextsInErrors } from "../graph/runtime/finite.ts";
import { chatRendererOf } from "../model/tokenizer/chat_template.ts";
import type { Tokenizer } from "../model/tokenizer/tokenizer.ts";
import { type GeneratedTextState, generateTexts } from "./generated_texts.ts";

/** Additional windows to generate: decoded and tokenised again, text may have a few tokens fewer. */
const SPARE_WINDOWS = 1;

const HINT =
  "Text that this model generates is not usable for calibration. Give texts instead (--own-text never).";

/** Number of the first window of a set for checks only; beyond the windows of any set that a plan was made on. */
const FIRST_CHECKED = 2 ** 30;

/** A set of zeros, as large as the one that the model will generate. */
export function ownTextToCome(
  name: string,
  { samples, seqLen }: Pick<SamplingOptions, "samples" | "seqLen">,
): SampledSet {
  const window = new Int32Array(seqLen);
  const zeros = (length: number): readonly Int32Array[] => Array.from({ length }, () => window);
  return { name, windows: zeros(samples), heldOut: zeros(HELD_OUT_WINDOWS), unused: [] };
}

/**
 * Generates a set, the same that a file from `gprune generate --sample` would give. A set for checks only, without
 * calibration windows, has windows of its own, since the plan may have been made on generated text of the same seed.
 * @param planned - the set of zeros that stands for it and sets its numbers of windows
 * @throws GpruneError BAD_TEXT when the generated text has no whole window, NOT_FINITE naming the set
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
    readonly checkpoints?: Checkpoints<GeneratedTextState>;
  },
): Promise<SampledSet> {
  const count = windows.length + heldOut.length + SPARE_WINDOWS;
  const first = windows.length === 0 ? FIRST_CHECKED : 0;
  const generating = { ...options, count, first, tokens: seqLen, temperature: 1, topP: 1, seed };
  const texts = await withTextsInErrors(calibrationSetText({ name }), () =>
    generateTexts(runner, tokenizer, generating),
  );
  const text = texts.flat().join("\n\n");
  const sampling = { samples: windows.length, seqLen, seed };
  try {
    return { ...sampledSet({ name, path: OWN_TEXT, text }, tokenizer, sampling), unused: [] };
  } catch (error) {
    throw hasCode(error, "BAD_TEXT") ? error.inOtherWords({ hint: HINT }) : error;
  }
}

/** Reads a calibration set or, where it is the model's own text, generates it. */
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
