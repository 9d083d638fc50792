/** The table of docs/FAMILIES.md says what the code does, with the golden models of every family. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { FAMILIES } from "../src/model/families/families.ts";
import type { FamilyReaders } from "../src/model/family.ts";
import { findHfForm } from "../src/model/hf/form.ts";
import { attentionLayers, type LayerSpec, type ModelSpec, withBiases } from "../src/model/spec.ts";
import { GOLDEN_FAMILIES, openGolden } from "./golden_model.ts";

const DOCUMENT = join(import.meta.dirname, "..", "docs", "FAMILIES.md");
/** Cells of every row. */
const [, ...rows] = readFileSync(DOCUMENT, "utf8")
  .split("\n")
  .filter((line) => line.startsWith("| `"))
  .map((line) => line.split("|").map((cell) => cell.trim()));
const specs = await Promise.all(GOLDEN_FAMILIES.map(async (name) => specOf(name)));

test("there is a row for each family", () => {
  expect(rows.map(([, name]) => name).sort()).toEqual(
    FAMILIES.map(({ modelType }) => `\`${modelType}\``).sort(),
  );
});

test.each(FAMILIES)(
  "says since when transformers has $modelType, which class loads a pruned one, and what of vLLM",
  ({ modelType, readers }) => {
    const [, , , since, neurons, kvGroups, biases, vllm] =
      rows.find(([, name]) => name === `\`${modelType}\``) ?? [];
    expect(since).toBe(readers.transformersSince);
    const own = specs.filter(({ family }) => family === modelType);
    const halved = own.map(withHalfTheNeurons);
    const narrower = halved.filter(losesKvGroups).map(withoutKvGroup);
    expect(neurons).toBe(answer(halved));
    expect(kvGroups).toBe(narrower.length === 0 ? "kept" : answer(narrower));
    expect(biases).toBe(answer(halved.map(withOutputBiases)));
    expect(vllm).toBe(vllmAnswer(readers));
  },
);

async function specOf(name: (typeof GOLDEN_FAMILIES)[number]): Promise<ModelSpec> {
  const { model } = await openGolden(name);
  await model.weights.close();
  return model.spec;
}

/** The classes that load models of a family, which has to be one. */
function answer(specs: readonly ModelSpec[]): string {
  const classes = specs.map((spec) => {
    const form = findHfForm(spec);
    if (form === null) return "none";
    if (form.remoteCode) return "file";
    return form.family.modelType === spec.family ? "stock" : form.family.modelType;
  });
  return [...new Set(classes)].join(", ");
}

function vllmAnswer({ vllmClass, vllmBackend }: FamilyReaders): string {
  if (vllmClass) return vllmBackend ? "yes" : "class";
  return vllmBackend ? "backend" : "no";
}

function withLayers(spec: ModelSpec, change: (layer: LayerSpec) => Partial<LayerSpec>): ModelSpec {
  return { ...spec, layers: spec.layers.map((layer) => ({ ...layer, ...change(layer) })) };
}

/** Half of every FFN's neurons, or of every expert's. */
function withHalfTheNeurons(spec: ModelSpec): ModelSpec {
  return withLayers(spec, ({ neurons, experts: { count } = { count: 1 } }) => {
    return { neurons: count * Math.floor(neurons / count / 2) };
  });
}

/** Whether all layers with attention can lose a KV group. */
function losesKvGroups(spec: ModelSpec): boolean {
  const groups = attentionLayers(spec).map(({ kvGroups, kvSharing }) => (kvSharing ? 1 : kvGroups));
  return new Set(groups).size === 1 && groups[0]! > 1;
}

function withoutKvGroup(spec: ModelSpec): ModelSpec {
  return withLayers(spec, ({ mixer, kvGroups, groupSize, slopes }) => {
    if (mixer !== undefined) return {};
    const left = kvGroups - 1;
    return { kvGroups: left, ...(slopes && { slopes: slopes.slice(0, left * groupSize) }) };
  });
}

/** Biases where recovery adds them. */
function withOutputBiases(spec: ModelSpec): ModelSpec {
  return withLayers(spec, (layer) => withBiases(layer, ["o_proj", "down_proj"]));
}
