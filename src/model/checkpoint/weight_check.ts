/**
 * Compares the tensors of a model with those that its spec asks for, and names them as the files do; and checks that
 * there is something in them, and numbers where no later check would miss them.
 */
import { firstFew, MAX_LISTED } from "../../base/lists.ts";
import { GpruneError } from "../../errors.ts";
import { shapeText } from "../../tensor/tensor.ts";
import { familyByName } from "../families/families.ts";
import type { Model } from "../model.ts";
import { normsOf } from "../spec.ts";
import { layerOfName } from "../weight_names.ts";
import { BLOCK_NORMS, correctionsOf, expertScalesOf, NORM_PARTS, weightsOf } from "../weights.ts";
import { expertShape, expertTensors, joinedNames, loneShape } from "./experts.ts";
import { fusedTensors } from "./fused.ts";
import { partedTensors } from "./parts.ts";
import { namingOf, storedName } from "./stored_names.ts";
import { isLayerMatrix } from "./transposed.ts";

/** A tensor that is not as it should be. */
interface Misfit {
  readonly name: string;
  readonly expected: readonly number[];
  /** Undefined where there is no such tensor. */
  readonly found: readonly number[] | undefined;
}

/** @throws GpruneError BAD_TENSOR listing the first few differences */
export function checkWeights(model: Model): void {
  const { spec, weights, origin } = model;
  const misfits = weightsOf(spec)
    .map(({ name, shape }) => ({ name, expected: shape, found: weights.info(name)?.shape }))
    .filter(isMisfit);
  if (misfits.length === 0) return;
  const listed = origin.format === "hf" ? asStored(misfits, model) : misfits;
  const list = firstFew(listed.map(textOf))
    .map((problem) => `\n  ${problem}`)
    .join("");
  throw new GpruneError("BAD_TENSOR", `${origin.name}: tensors do not fit the configuration:${list}`, {
    hint: "config.json and the weights must come from the same model.",
  });
}

/**
 * Finds files for which a download took the room and then broke off: what is missing is zeros. The weights of the norms
 * that blocks and the head read are quick to read themselves. Zeros there would leave a block without input, unless an
 * offset is added to them.
 * @throws GpruneError BAD_FILE naming the first norm of zeros
 */
export async function requireFilled({ spec, weights, origin }: Model): Promise<void> {
  if (spec.normOffset !== 0 || !NORM_PARTS[spec.normParameters].includes("weight")) return;
  const ofLayers = spec.layers.flatMap((layer, index) => {
    const { kv, ffn } = BLOCK_NORMS[normsOf(spec, layer)];
    const read = new Set([kv.input, ffn.input].filter((norm) => norm !== null));
    return [...read].map((norm) => `model.layers.${index}.${norm}`);
  });
  for (const norm of [...ofLayers, "model.norm"]) {
    const name = `${norm}.weight`;
    const { data } = await weights.read(name);
    if (!data.every((value) => value === 0)) continue;
    const inFile = nameInFile(name, { spec, origin });
    throw new GpruneError("BAD_FILE", `${origin.name}: ${inFile}: expected weights, got nothing but zeros`, {
      hint: "A download may have taken the room for the file without filling it; download it again.",
    });
  }
}

/**
 * Finds score corrections of routers that are not finite, which would choose other experts, and no later check sees
 * it; and factors of experts, which only a text that has the expert would show.
 * @throws GpruneError NOT_FINITE naming the first
 */
export async function requireFiniteRouters({ spec, weights, origin }: Model): Promise<void> {
  for (const { name } of [...correctionsOf(spec), ...expertScalesOf(spec)]) {
    const { data } = await weights.read(name);
    const bad = data.find((value) => !Number.isFinite(value));
    if (bad === undefined) continue;
    throw new GpruneError(
      "NOT_FINITE",
      `${origin.name}: ${nameInFile(name, { spec, origin })}: expected finite numbers, got ${bad}`,
      {
        hint: "The checkpoint is damaged; copy or download it again.",
      },
    );
  }
}

/** The name of a tensor in the model's file. @param name - the usual one */
function nameInFile(name: string, { spec, origin }: Pick<Model, "spec" | "origin">): string {
  if (origin.format !== "hf") return name;
  return storedName(name, namingOf(familyByName(spec.family, "model"), spec));
}

function isMisfit({ expected, found }: Misfit): boolean {
  return found === undefined || found.join() !== expected.join();
}

function textOf({ name, expected, found }: Misfit): string {
  return `${name}: expected ${shapeText(expected)}, got ${found ? shapeText(found) : "no such tensor"}`;
}

/** The same as the family's checkpoints have them: joined, transposed and under other names. */
function asStored(misfits: readonly Misfit[], model: Model): readonly Misfit[] {
  const family = familyByName(model.spec.family, "model");
  const naming = namingOf(family, model.spec);
  return withExperts(withFused(withParts(misfits, model), model), model).map(({ name, expected, found }) => {
    const turned = family.stored.transposed && isLayerMatrix(name, expected);
    return {
      name: storedName(name, naming),
      expected: turned ? expected.toReversed() : loneShape(name, expected, family),
      found: turned && found?.length === 2 ? found.toReversed() : found,
    };
  });
}

/** With the parts of tensors that the family stores in parts, those of them that are not as they should be. */
function withParts(misfits: readonly Misfit[], { spec, weights }: Model): readonly Misfit[] {
  const parted = partedTensors(spec, familyByName(spec.family, "model"));
  return misfits.flatMap((misfit) => {
    const parts = parted.get(misfit.name)?.map(({ name, shape }): Misfit => {
      return { name, expected: shape, found: weights.info(name)?.shape };
    });
    return parts === undefined ? [misfit] : parts.filter(isMisfit);
  });
}

/** With one tensor for projections that the family stores as one, if none of them is as it should be. */
function withFused(misfits: readonly Misfit[], { spec, weights }: Model): readonly Misfit[] {
  const byName = new Map(misfits.map((misfit) => [misfit.name, misfit]));
  const fused = fusedTensors(spec, familyByName(spec.family, "model").stored.fused);
  const joined = new Map<string, Misfit | null>();
  for (const { name, parts } of fused) {
    const [first, ...others] = parts.map((part) => byName.get(part));
    if (first === undefined || others.includes(undefined)) continue;
    const rows = [first, ...others].reduce((sum, part) => sum + part!.expected[0]!, 0);
    for (const part of parts) joined.set(part, null);
    joined.set(first.name, {
      name,
      expected: first.expected.with(0, rows),
      found: weights.info(name)?.shape,
    });
  }
  return misfits
    .map((misfit) => joined.get(misfit.name) ?? misfit)
    .filter(({ name }) => joined.get(name) !== null);
}

/**
 * With the tensors that experts are stored in, for projections of all experts together. Misfits of layers after the
 * first few with such, which no message lists, come last as they are: they may have millions of tensors.
 */
function withExperts(misfits: readonly Misfit[], { spec, weights }: Model): readonly Misfit[] {
  const family = familyByName(spec.family, "model");
  const names = new Set(misfits.map(({ name }) => name));
  const isConcerned = (tensor: Parameters<typeof joinedNames>[0]): boolean =>
    joinedNames(tensor).some((name) => names.has(name));
  const layers = [...spec.layers.keys()].filter((layer) =>
    family.stored.experts?.some((stored) => spec.layers[layer]!.experts && isConcerned({ ...stored, layer })),
  );
  const concerned = expertTensors(spec, family, layers.slice(0, MAX_LISTED)).filter(isConcerned);
  const joined = new Set(concerned.flatMap(joinedNames));
  const ofExperts = concerned.map((tensor): Misfit => {
    const { name } = tensor;
    return { name, expected: expertShape(spec, tensor), found: weights.info(name)?.shape };
  });
  const others = misfits.filter(({ name }) => !joined.has(name));
  const further = new Set(layers.slice(MAX_LISTED));
  const isFurther = ({ name }: Misfit): boolean => further.has(layerOfName(name));
  return [
    ...others.filter((misfit) => !isFurther(misfit)),
    ...ofExperts.filter(isMisfit),
    ...others.filter(isFurther),
  ];
}
