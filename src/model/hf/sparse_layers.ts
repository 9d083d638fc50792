/** Which layers of a class have experts, as its configuration says it. */
import { z } from "zod";
import type { JsonObject } from "../../io/files/json.ts";
import { MAX_LAYERS, size } from "./limits.ts";
import { requireEveryLayer } from "./mixer_keys.ts";
import { parsedKeys } from "./own_keys.ts";

/** Keys for the layers with experts. */
export interface SparseLayers {
  /** Whether a layer has experts. @throws GpruneError BAD_CONFIG for values out of range */
  read(config: JsonObject, where: string): (layer: number) => boolean;
  /** The keys for a model. @param sparse - whether each layer has experts */
  write(sparse: readonly boolean[]): JsonObject;
}

const index = z.int().nonnegative().max(MAX_LAYERS);

const stepSchema = z.object({
  decoder_sparse_step: size.default(1),
  mlp_only_layers: z.array(index).max(MAX_LAYERS).nullish(),
});

/** `Qwen3MoeDecoderLayer`: every n-th layer but those of a list. */
export const BY_STEP: SparseLayers = {
  read: (config, where) => {
    const { mlp_only_layers: dense, decoder_sparse_step: step } = parsedKeys(stepSchema, config, where);
    return (layer) => !dense?.includes(layer) && (layer + 1) % step === 0;
  },
  write: (sparse) => ({
    decoder_sparse_step: 1,
    mlp_only_layers: sparse.flatMap((has, layer) => (has ? [] : [layer])),
  }),
};

/**
 * All but the first ones (`Glm4MoeDecoderLayer`, `Lfm2MoeDecoderLayer`).
 * @param usual - their number where config.json has none
 */
export function afterDense(
  key: "first_k_dense_replace" | "num_dense_layers",
  { usual }: { readonly usual: number },
): SparseLayers {
  const schema = z.object({ [key]: index.default(usual) });
  return {
    read: (config, where) => {
      const first = parsedKeys(schema, config, where)[key]!;
      return (layer) => layer >= first;
    },
    write: (sparse) => ({ [key]: sparse.includes(true) ? sparse.indexOf(true) : sparse.length }),
  };
}

const listSchema = z.object({
  moe_layers: z.array(index).max(MAX_LAYERS).nullish(),
  interleave_moe_layer_step: index.default(1),
});

/** `Llama4TextConfig`: those of a list or, without one, every n-th; vLLM and llama.cpp have the step alone. */
export const LISTED_OR_BY_STEP: SparseLayers = {
  read: (config, where) => {
    const { moe_layers: list, interleave_moe_layer_step: step } = parsedKeys(listSchema, config, where);
    return (layer) => (list ? list.includes(layer) : (layer + 1) % step === 0);
  },
  write: (sparse) => ({
    moe_layers: sparse.flatMap((has, layer) => (has ? [layer] : [])),
    interleave_moe_layer_step: sparse.indexOf(true) + 1,
  }),
};

/** Whether experts are in every n-th layer, for the n of the first that has some. */
export function areByStep(sparse: readonly boolean[]): boolean {
  const step = sparse.indexOf(true) + 1;
  return sparse.every((has, layer) => has === ((layer + 1) % step === 0));
}

const typesSchema = z.object({
  mlp_layer_types: z
    .array(z.enum(["dense", "sparse"]))
    .max(MAX_LAYERS)
    .nullish(),
  num_hidden_layers: size.max(MAX_LAYERS),
});
const FIRST_DENSE = afterDense("first_k_dense_replace", { usual: 1 });

/** Those of a list or, without one, those that are read in another way; vLLM has a number of the first ones. */
function byType(read: SparseLayers["read"]): SparseLayers {
  return {
    read: (config, where) => {
      const { mlp_layer_types: types, num_hidden_layers: count } = parsedKeys(typesSchema, config, where);
      requireEveryLayer({ mlp_layer_types: types }, count, where);
      return types ? (layer) => types[layer] === "sparse" : read(config, where);
    },
    write: (sparse) => ({ ...FIRST_DENSE.write(sparse), ...typesOf(sparse) }),
  };
}

function typesOf(sparse: readonly boolean[]): JsonObject {
  return { mlp_layer_types: sparse.map((has) => (has ? "sparse" : "dense")) };
}

/** `ExaoneMoeConfig`: without a list, all but as many as another key says. */
export const BY_TYPE_OR_NUMBER: SparseLayers = byType(FIRST_DENSE.read);

/** `Glm4MoeLiteConfig`: without a list, all but the first. */
export const BY_TYPE: SparseLayers = byType(() => (layer) => layer > 0);

/** `LagunaConfig`, the same; vLLM has those that are not in a list (laguna.py). */
export const BY_TYPE_AND_STEP: SparseLayers = {
  read: BY_TYPE.read,
  write: (sparse) => ({ ...BY_STEP.write(sparse), ...typesOf(sparse) }),
};

/** `MellumConfig`: without a list, all. */
export const BY_TYPE_OR_ALL: SparseLayers = byType(() => () => true);

/** `Cohere2MoeConfig`: without a list, all but as many as another key says, if it is there. */
export const BY_TYPE_OR_SAID_NUMBER: SparseLayers = byType(
  afterDense("first_k_dense_replace", { usual: 0 }).read,
);

const intervalSchema = z.object({
  moe_layer_start_index: index.default(1),
  moe_layer_end_index: z.union([index, z.literal(-1)]).default(-1),
  moe_layer_interval: size.default(1),
});

/** `Ernie4_5_MoeDecoderLayer`: every n-th layer from one to another, -1 for the last. */
export const IN_INTERVAL: SparseLayers = {
  read: (config, where) => {
    const keys = parsedKeys(intervalSchema, config, where);
    const { moe_layer_start_index: first, moe_layer_end_index: last, moe_layer_interval: step } = keys;
    return (layer) => (layer + 1) % step === 0 && layer >= first && (last === -1 || layer <= last);
  },
  write: (sparse) => {
    const places = sparse.flatMap((has, layer) => (has ? [layer] : []));
    const [first = sparse.length, second = first + 1] = places;
    return {
      moe_layer_start_index: first,
      moe_layer_end_index: places.at(-1) ?? first,
      moe_layer_interval: second - first,
    };
  },
};
