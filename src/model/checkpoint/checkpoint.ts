/**
 * Opens a model: a Hugging Face directory or a GGUF file, on disk or on the hub. In either format, every tensor that
 * the spec asks for is checked to be there in the right shape before anything is computed.
 */
import { join } from "node:path";
import { GpruneError, requireWord } from "../../errors.ts";
import { kindOfPath, PositionalFile, readSmallFile } from "../../io/files/file.ts";
import { fileInside } from "../../io/files/inside.ts";
import { CONFIG_JSON_LIMITS, readJsonFile } from "../../io/files/json.ts";
import { refuseLfsPointer } from "../../io/files/lfs_pointer.ts";
import { namesIn } from "../../io/files/listing.ts";
import { withoutByteOrderMark } from "../../io/files/utf8.ts";
import {
  INDEX_FILE,
  openCheckpointTensors,
  SINGLE_FILE,
  shardNames,
} from "../../io/formats/safetensors_shards.ts";
import { type HubAddress, hubName, isHubAddress, parseHubAddress } from "../../io/hub/address.ts";
import { type HubOptions, hubFile, hubModelDirectory } from "../../io/hub/hub.ts";
import { commonDType, type TensorSource } from "../../tensor/tensor.ts";
import { MAX_CARD_BYTES } from "../card_fields.ts";
import { familyByName } from "../families/families.ts";
import type { Family } from "../family.ts";
import { openGgufModel } from "../gguf/model.ts";
import { predictingLayers, readConfig } from "../hf/config.ts";
import { isOtherClass, plainConfig } from "../hf/plain_config.ts";
import { readQuantization } from "../hf/quantization.ts";
import { CARD_FILE, type CarriedFile, type Model, type ModelOrigin } from "../model.ts";
import { inHalves } from "../rotary_rows.ts";
import type { ModelSpec } from "../spec.ts";
import { MAX_TEMPLATE_BYTES, withProcessorTemplate } from "../tokenizer/chat_template.ts";
import { ofModel } from "../tokenizer/files.ts";
import { HEAD } from "../weight_names.ts";
import { weightsOf } from "../weights.ts";
import { blockTensors, joinExperts, readableExperts, withVectors } from "./experts.ts";
import { dtypeOfOthers, withPlainWeights } from "./float8.ts";
import { fusedTensors, splitFused } from "./fused.ts";
import { withUnpackedBlocks } from "./mxfp4.ts";
import { joinParts, partedTensors } from "./parts.ts";
import { withStoredHead } from "./stored_head.ts";
import { namingOf, withUsualNames } from "./stored_names.ts";
import { withTransposedMatrices } from "./transposed.ts";
import { requireCountedLayers, unusedTensors } from "./unused_tensors.ts";
import { checkWeights, requireFilled, requireFiniteRouters } from "./weight_check.ts";

/**
 * Files that travel to the output unchanged: tokenizer, chat template, generation defaults, licence and notices. The
 * template of a processor becomes one of the tokenizer. JSON loses a byte order mark, which transformers refuses.
 */
const CARRIED_FILES = [
  "tokenizer.json",
  "tokenizer_config.json",
  "tokenizer.model",
  "special_tokens_map.json",
  "added_tokens.json",
  "vocab.json",
  "merges.txt",
  "chat_template.jinja",
  "chat_template.json",
  "generation_config.json",
  "LICENSE",
  "LICENSE.txt",
  "LICENSE.md",
  "NOTICE",
  "NOTICE.txt",
  "USE_POLICY.md",
] as const;

/** Chat templates beside the first one, where transformers has them (`CHAT_TEMPLATE_DIR` of utils/hub.py). */
const TEMPLATES_DIRECTORY = "additional_chat_templates";
const TEMPLATE_NAME = /^additional_chat_templates\/\w[\w.-]{0,99}\.jinja$/;
const MAX_TEMPLATES = 64;

/** Gemma 3's tokenizer.json, the largest known, has 33 MB. */
const MAX_CARRIED_BYTES = 2 ** 27;

const MODEL_HINT =
  "Give a Hugging Face directory (config.json and safetensors), a .gguf file, or hf://ORG/NAME.";

/**
 * Opens a checkpoint; weights are read on demand, until `model.weights.close()`. A model on the hub is first downloaded
 * into the hub's cache, unless it is there already.
 * @param name - a Hugging Face directory or a .gguf file; `hf://ORG/NAME[@REVISION][/FILE.gguf]`; or `ORG/NAME` when
 *   there is nothing of that name on the disk
 * @throws GpruneError BAD_ARGUMENT for no name, NOT_FOUND, FORBIDDEN, UNSUPPORTED (family, tensor type), BAD_CONFIG,
 *   BAD_FILE, NOT_FINITE for score corrections of routers and factors of experts, or BAD_TENSOR listing tensors that
 *   are missing or have the wrong shape; NETWORK from the hub
 */
export async function openModel(name: string, options: HubOptions = {}): Promise<Model> {
  requireWord(name, "model", MODEL_HINT);
  const path = await localPath(name, options);
  const opened =
    (await kindOfPath(path)) === "directory" ? await openHuggingFace(path) : await openGgufModel(path);
  const model = { ...opened, origin: { ...opened.origin, name, path } };
  try {
    checkWeights(model);
    await requireFilled(model);
    await requireFiniteRouters(model);
  } catch (error) {
    await model.weights.close();
    throw error;
  }
  return model;
}

/** The files that hold a model's configuration and weights, and their sizes in bytes; none for a model in memory. */
export async function modelFiles({
  origin: { path },
}: Model): Promise<readonly { readonly path: string; readonly bytes: number }[]> {
  if (path === undefined) return [];
  const paths = (await kindOfPath(path)) === "directory" ? await checkpointFiles(path) : [path];
  const files: { path: string; bytes: number }[] = [];
  for (const file of paths) {
    files.push({ path: file, bytes: await PositionalFile.use(file, async ({ size }) => size) });
  }
  return files;
}

async function checkpointFiles(directory: string): Promise<readonly string[]> {
  const single = join(directory, SINGLE_FILE);
  const index = join(directory, INDEX_FILE);
  const weights =
    (await kindOfPath(single)) === "file"
      ? [single]
      : [index, ...(await shardNames(index)).map((name) => join(directory, name))];
  return [join(directory, "config.json"), ...weights];
}

/** The path of a model on disk, after downloading it if necessary. */
async function localPath(name: string, options: HubOptions): Promise<string> {
  if (!isHubAddress(name) && (await kindOfPath(name)) !== "missing") return name;
  const address = parseHubAddress(name);
  if (address === null) {
    throw new GpruneError("NOT_FOUND", `${name}: expected a model, got no such file or directory`, {
      hint: MODEL_HINT,
    });
  }
  try {
    return await fetchModel(address, options);
  } catch (error) {
    throw isHubAddress(name) ? error : withoutLocalFile(name, error);
  }
}

async function fetchModel(address: HubAddress, options: HubOptions): Promise<string> {
  const { kind, file } = address;
  if (kind === "model" && file === undefined) {
    return hubModelDirectory(address, [...CARRIED_FILES, TEMPLATE_NAME, CARD_FILE], options);
  }
  if (kind === "model" && file?.endsWith(".gguf")) return hubFile({ ...address, file }, options);
  throw new GpruneError(
    "BAD_ARGUMENT",
    `${hubName(address)}/${file}: expected a model, got another kind of file`,
    {
      hint: "Give hf://ORG/NAME or hf://ORG/NAME/FILE.gguf.",
    },
  );
}

/** The hub's error with a hint for users who mistyped a path, and do not know why the hub was asked. */
function withoutLocalFile(name: string, error: unknown): unknown {
  if (!(error instanceof GpruneError)) return error;
  const missing = `There is no local file or directory ${name} either.`;
  return error.inOtherWords({ hint: `${missing} ${error.hint ?? ""}`.trim() });
}

async function openHuggingFace(directory: string): Promise<Model> {
  const configPath = await fileInside(directory, "config.json");
  if ((await kindOfPath(configPath)) === "missing") {
    const message = `${directory}: expected a model, got a directory without config.json`;
    throw new GpruneError("NOT_FOUND", message, { hint: MODEL_HINT });
  }
  const config = await readJsonFile(configPath, CONFIG_JSON_LIMITS);
  const plain = plainConfig(config);
  const declared = readConfig(plain, configPath);
  const scales = readQuantization(config, configPath);
  const family = familyByName(declared.family, configPath);
  const { tensors, storedName } = withUsualNames(
    await openCheckpointTensors(directory),
    namingOf(family, declared),
  );
  try {
    requireCountedLayers(tensors, declared, { where: directory, further: predictingLayers(plain) });
    const { tensors: unpacked, hasBlocks } = withUnpackedBlocks(tensors, {
      blocks: blockTensors(declared, family),
      where: directory,
    });
    const unscaled = withPlainWeights(unpacked, {
      used: readNames(tensors, declared, family),
      scales,
      where: directory,
    });
    const readAs = unscaled.readAs ?? (hasBlocks ? dtypeOfOthers(tensors) : undefined);
    const upright = family.stored.transposed ? withTransposedMatrices(unscaled.tensors) : unscaled.tensors;
    const lone = family.stored.correctionsInRows ? withVectors(upright, declared, family) : upright;
    const apart = joinParts(splitFused(lone, declared), declared, family);
    const separate = joinExperts(apart, declared, family);
    const ordered = inHalves(separate, declared, family.stored.rotatedOrder);
    const { spec, weights } = await withStoredHead({ spec: declared, weights: ordered });
    const unused = unusedTensors(weights, spec, storedName);
    const infos = weightsOf(spec).map(({ name, shape }) => ({
      dtype: weights.info(name)?.dtype ?? "none",
      shape,
    }));
    const origin: ModelOrigin = {
      name: directory,
      format: "hf",
      dtype: commonDType(infos),
      ...(isOtherClass(config) && { converted: true }),
      ...(readAs !== undefined && { readAs }),
    };
    const files = await carriedFiles(directory);
    return {
      spec,
      weights,
      files: ofModel({ origin }, () => withProcessorTemplate(files)),
      ...(await cardOf(directory)),
      ...(unused.length > 0 && { unusedTensors: unused }),
      origin,
    };
  } catch (error) {
    await tensors.close();
    throw error;
  }
}

/** Names of the tensors that a model may be read from: its weights, fused or apart, and an output matrix. */
function readNames(source: TensorSource, spec: ModelSpec, family: Family): readonly string[] {
  const parts = [...partedTensors(spec, family).values()].flat();
  const experts = readableExperts(source, spec, family);
  const stored = [...weightsOf(spec), ...parts, ...fusedTensors(spec), ...experts];
  return [...stored.map(({ name }) => name), HEAD];
}

async function carriedFiles(directory: string): Promise<readonly CarriedFile[]> {
  const files: CarriedFile[] = [];
  for (const name of [...CARRIED_FILES, ...(await furtherTemplates(directory))]) {
    const path = await fileInside(directory, name);
    if ((await kindOfPath(path)) !== "file") continue;
    const isTemplate = name.endsWith(".jinja");
    const bytes = await readSmallFile(path, isTemplate ? MAX_TEMPLATE_BYTES : MAX_CARRIED_BYTES);
    refuseLfsPointer(bytes, { where: path, expected: "the file itself" });
    files.push({ name, bytes: name.endsWith(".json") ? withoutByteOrderMark(bytes) : bytes });
  }
  return files;
}

/** Names of the chat templates beside the first one, with their directory. */
async function furtherTemplates(directory: string): Promise<readonly string[]> {
  const names = await namesIn(join(directory, TEMPLATES_DIRECTORY));
  return names
    .map((name) => `${TEMPLATES_DIRECTORY}/${name}`)
    .filter((name) => TEMPLATE_NAME.test(name))
    .slice(0, MAX_TEMPLATES);
}

/** The model's card; none if it is too large to be one. */
async function cardOf(directory: string): Promise<Pick<Model, "card">> {
  const path = await fileInside(directory, CARD_FILE);
  if ((await kindOfPath(path)) !== "file") return {};
  return PositionalFile.use(path, async (file) =>
    file.size > MAX_CARD_BYTES ? {} : { card: await file.read(0, file.size) },
  );
}
