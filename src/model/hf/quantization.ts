/**
 * How a checkpoint's weights are quantised, from `quantization_config` of its config.json. Only float8 and MXFP4 are
 * read; the scales themselves are tensors (checkpoint/float8.ts, checkpoint/mxfp4.ts).
 */
import { z } from "zod";
import { plainName } from "../../base/plain_text.ts";
import { wrongValues } from "../../base/wrong_values.ts";
import { GpruneError } from "../../errors.ts";
import { isJsonObject } from "../../io/files/json.ts";

/** Which weights of a matrix [out, in] share a scale. */
export interface Float8Scales {
  /** All. */
  readonly tensor: boolean;
  /** Those of a row. */
  readonly channel: boolean;
  /** Those of a block of so many rows and columns; blocks at the edges may be smaller. */
  readonly block: readonly [number, number] | null;
}

/** What users of other quantised checkpoints are told. */
export const FLOAT8_HINT: string =
  'Of quantised checkpoints, those in FP8 are read: quant_method "fp8", or "compressed-tensors" with 8-bit floats ' +
  "and scales per tensor, channel or block; and experts in MXFP4. Use the original weights.";

const blockSize = z.tuple([z.int().positive(), z.int().positive()]);

/** `FineGrainedFP8Config` of transformers (utils/quantization_config.py), and AutoFP8, which has no block size. */
const fineGrained = z.object({ weight_block_size: blockSize.nullish() });

/** `FineGrainedFP8Config`'s own block size. */
const DEFAULT_BLOCK = [128, 128] as const;

/** Formats that store a weight as it is and its scale beside it (compressors/naive_quantized/base.py). */
const format = z.enum(["float-quantized", "naive-quantized"]);

/** `QuantizationArgs` of compressed-tensors (quantization/quant_args.py). */
const weightArgs = z.object({
  num_bits: z.literal(8),
  type: z.literal("float"),
  symmetric: z.literal(true).optional(),
  strategy: z.enum(["tensor", "channel", "block"]),
  block_structure: blockSize.nullish(),
});

/** `QuantizationConfig` of compressed-tensors (quantization/quant_config.py); rotations and sparsity are refused. */
const compressed = z.object({
  format,
  config_groups: z.record(z.string(), z.object({ weights: weightArgs.nullish(), format: format.nullish() })),
  sparsity_config: z.object({ format: z.literal("dense").optional() }).nullish(),
  transform_config: z.object({ config_groups: z.record(z.string(), z.never()).optional() }).nullish(),
});

/**
 * The kinds of scales that weights in float8 may have; null for a model that has none, as tensors in MXFP4 say
 * themselves what they are.
 * @param config - parsed config.json
 * @param where - the file, for messages
 * @throws GpruneError UNSUPPORTED for any other quantisation
 */
export function readQuantization(config: unknown, where: string): Float8Scales | null {
  const settings = settingsOf(config);
  if (settings === undefined) return null;
  const method = isJsonObject(settings) ? settings.quant_method : undefined;
  if (method === "mxfp4") return null;
  if (method === "fp8") return fineGrainedScales(parse(fineGrained, settings, where));
  if (method === "compressed-tensors") return compressedScales(parse(compressed, settings, where), where);
  const got =
    method === undefined ? "no quant_method" : `quant_method ${plainName(String(JSON.stringify(method)))}`;
  throw unsupported(where, `expected weights in FP8 or experts in MXFP4, got ${got}`);
}

/** The settings of the whole model or of its text model, under the key of today or of older compressed-tensors. */
function settingsOf(config: unknown): unknown {
  const whole = isJsonObject(config) ? config : {};
  const text = isJsonObject(whole.text_config) ? whole.text_config : {};
  const found = [whole, text].flatMap((part) => [part.quantization_config, part.compression_config]);
  return found.find((settings) => settings !== undefined && settings !== null);
}

function parse<T>(schema: z.ZodType<T>, settings: unknown, where: string): T {
  const result = schema.safeParse(settings);
  if (result.success) return result.data;
  throw unsupported(where, wrongValues(result.error));
}

function fineGrainedScales({ weight_block_size: block }: z.infer<typeof fineGrained>): Float8Scales {
  return {
    tensor: block === undefined || block === null,
    channel: false,
    block: block === undefined ? DEFAULT_BLOCK : block,
  };
}

function compressedScales(
  { config_groups: groups }: z.infer<typeof compressed>,
  where: string,
): Float8Scales {
  const args = Object.values(groups).flatMap(({ weights }) => weights ?? []);
  const blocks = args.filter(({ strategy }) => strategy === "block").map((arg) => arg.block_structure);
  const [block] = blocks;
  if (blocks.some((other) => !other || other.join() !== block?.join())) {
    throw unsupported(where, `expected one block_structure, got ${JSON.stringify(blocks)}`);
  }
  const strategies = new Set(args.map(({ strategy }) => strategy));
  return { tensor: strategies.has("tensor"), channel: strategies.has("channel"), block: block ?? null };
}

function unsupported(where: string, problem: string): GpruneError {
  return new GpruneError("UNSUPPORTED", `${where}: quantization_config: ${problem}`, { hint: FLOAT8_HINT });
}
