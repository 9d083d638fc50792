/**
 * Writes a model as ONNX in the layout that transformers.js loads: `onnx/model*.onnx`, one decoder with a key/value
 * cache, and beside it config.json and the carried tokenizer files. The directory appears complete or not at all.
 */

import { basename, dirname, join } from "node:path";
import { requireCount } from "../base/arguments.ts";
import { ONNX_CHOICES, type OnnxDType } from "../base/choices.ts";
import { counting, type OnProgress, silent } from "../base/progress.ts";
import { buildDecoder } from "../graph/decoder/decoder_model.ts";
import { GraphBuilder } from "../graph/ir/graph_builder.ts";
import { writeDirectoryAtomically, writeFileAtomically } from "../io/files/output_directory.ts";
import { makeDirectory } from "../io/files/output_file.ts";
import { familyByName } from "../model/families/families.ts";
import { configOf, configText } from "../model/hf/config_writer.ts";
import { convolutionsOf, linearAttentionsOf } from "../model/mixer_layers.ts";
import { exactDType, type Model } from "../model/model.ts";
import type { ModelSpec } from "../model/spec.ts";
import { requireSoundFiles } from "../model/tokenizer/files.ts";
import { writeCarried } from "./carried.ts";
import { requireDtype } from "./dtype_choice.ts";
import {
  MAX_FILE_BYTES,
  type OnnxModel,
  type WriteOnnxOptions,
  weightBytes,
  writeOnnxFile,
  writingMemory,
} from "./onnx_file.ts";
import { ONNX_FORMATS, type OnnxFormat, StoredWeights } from "./onnx_formats.ts";
import { requireExportRoom } from "./room.ts";

/** Options of {@link exportOnnx}. */
export interface OnnxExportOptions extends Pick<WriteOnnxOptions, "maxFileBytes"> {
  /** `auto`, when absent, writes a float16 checkpoint as f16 and all others as f32. */
  readonly dtype?: "auto" | OnnxDType;
  readonly onProgress?: OnProgress;
}

/**
 * Writes a directory for transformers.js and ONNX Runtime.
 * @param directory - must not exist, or be empty
 * @throws GpruneError OUTPUT_EXISTS, OUTPUT_FAILED; BAD_ARGUMENT for a dtype that is not in ONNX_CHOICES, or files of
 *   no bytes or more than 2 GB; OUT_OF_MEMORY when a tensor cannot be held; NOT_FINITE naming a tensor with a NaN or an
 *   infinity, OUT_OF_RANGE one with a value beyond the stored format
 */
export async function exportOnnx(
  model: Model,
  directory: string,
  { dtype = "auto", onProgress = silent, ...options }: OnnxExportOptions = {},
): Promise<void> {
  requireDtype(dtype, ONNX_CHOICES, "onnx");
  const { maxFileBytes } = options;
  if (maxFileBytes !== undefined) requireCount("maxFileBytes", maxFileBytes, { most: MAX_FILE_BYTES });
  requireSoundFiles(model);
  const automatic = exactDType(model.origin) === "F16" ? "f16" : "f32";
  const format = ONNX_FORMATS[dtype === "auto" ? automatic : dtype];
  const onnx = onnxModel(model.spec, format);
  const total = weightBytes(onnx);
  const memory = Math.max(...onnx.stored.map(writingMemory));
  await requireExportRoom(model, { output: directory, bytes: total, memory });
  const onBytes = counting(onProgress, { stage: "save", total, unit: "bytes" });
  await writeDirectoryAtomically(directory, async (temporary) => {
    const path = join(temporary, "onnx", `model${format.suffix}.onnx`);
    await makeDirectory(dirname(path));
    const { weights } = model;
    const dataFiles = await writeOnnxFile(path, { ...onnx, weights }, { ...options, onBytes });
    const config = clientConfig(model.spec, format, { name: basename(path), dataFiles });
    await writeFileAtomically(join(temporary, "config.json"), configText(config));
    await writeCarried(model, temporary, {
      library: "transformers.js",
      loading: loadingText(basename(path), model.spec),
    });
  });
}

/** The card's instructions for loading; docs/ONNX.md says more. @param name - of the decoder's file */
function loadingText(name: string, spec: ModelSpec): string {
  const [runtime, client] =
    linearAttentionsOf(spec).length > 0
      ? [", in version 1.25.1 or later", "version 4.3.1 or later"]
      : ["", `version 4 or later${spec.latent ? "" : " if layers differ in number or size of KV heads"}`];
  return `transformers.js loads this model:

    import { pipeline } from "@huggingface/transformers";
    const generator = await pipeline("text-generation", "./PATH"); // or ORG/NAME, if it is on the hub

Other programs can run \`onnx/${name}\`, a decoder with a key/value cache, in ONNX Runtime.

| program | loads it |
|---|---|
| onnx | yes${runtime} |
| transformers.js | yes; ${client} |`;
}

function onnxModel(spec: ModelSpec, format: OnnxFormat): OnnxModel {
  const b = new GraphBuilder({ fused: false });
  const weights = new StoredWeights(b, spec, format);
  const graph = buildDecoder(b, spec, weights);
  return { graph, stored: weights.stored };
}

/**
 * config.json with transformers.js's keys for the decoder's file, its dtype and its number of data files, and with
 * token ids, for which transformers.js knows no defaults.
 */
function clientConfig(
  spec: ModelSpec,
  { dtype, cacheType }: OnnxFormat,
  { name, dataFiles }: { readonly name: string; readonly dataFiles: number },
): Readonly<Record<string, unknown>> {
  const own = familyByName(spec.family, "spec");
  const { modelType, architecture } = own.readers.transformersJs ?? own;
  const family = { ...own, modelType, architecture };
  // The class that LFM3 is loaded by knows no windows, which are within the graph.
  const types = spec.layers.map(({ mixer }) => (mixer ? "conv" : "full_attention"));
  return {
    ...own.defaults.tokenIds,
    ...configOf(spec, { family, remoteCode: false }, cacheType),
    ...(modelType !== own.modelType && convolutionsOf(spec).length > 0 ? { layer_types: types } : {}),
    "transformers.js_config": {
      dtype,
      ...(cacheType === "float16" ? { kv_cache_dtype: { [dtype]: cacheType } } : {}),
      ...(dataFiles === 0 ? {} : { use_external_data_format: { [name]: dataFiles } }),
    },
  };
}
