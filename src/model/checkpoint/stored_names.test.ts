import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readAll } from "../../../test/golden_model.ts";
import { tinySpec } from "../../../test/tiny_model.ts";
import { memorySource } from "../../tensor/memory.ts";
import type { Tensor } from "../../tensor/tensor.ts";
import { familyByName } from "../families/families.ts";
import { namingOf, storedName, withUsualNames } from "./stored_names.ts";

/** The tensors that transformers saved of a golden model. */
function saved(directory: string): Promise<ReadonlyMap<string, Tensor>> {
  return readAll(join(import.meta.dirname, "../../../test/golden", directory, "model.safetensors"));
}

describe.each([
  ["gpt2", "transformer.wpe.weight", "model.embed_positions.weight"],
  ["opt", "model.decoder.layers.1.final_layer_norm.bias", "model.layers.1.post_attention_layernorm.bias"],
  ["opt", "model.decoder.final_layer_norm.bias", "model.norm.bias"],
  ["gpt_neox", "gpt_neox.layers.2.attention.dense.weight", "model.layers.2.self_attn.o_proj.weight"],
  ["gpt_neox", "embed_out.weight", "lm_head.weight"],
  ["phi", "lm_head.bias", "lm_head.bias"],
  ["gpt_neo", "transformer.h.1.attn.attention.k_proj.weight", "model.layers.1.self_attn.k_proj.weight"],
])("names of %s", (family, stored, usual) => {
  const naming = familyByName(family, "test").stored;

  test(`such as ${stored} become usual ones, and again the stored ones`, async () => {
    const tensors = await saved(family);
    const named = withUsualNames(memorySource(new Map(tensors)), naming);
    expect(await named.tensors.read(usual)).toEqual(tensors.get(stored));
    for (const name of named.tensors.names) {
      expect(named.storedName(name)).toBe(storedName(name, naming));
      expect(tensors.has(storedName(name, naming)), name).toBe(true);
    }
  });

  test("may lack the first part of the prefix, as in models saved without their head", async () => {
    const tensors = await saved(family);
    const { head } = naming.prefixes;
    const bare = new Map(
      [...tensors].map(([name, tensor]) => [
        name.startsWith(head) ? name : name.replace(/^\w+\./, ""),
        tensor,
      ]),
    );
    const named = withUsualNames(memorySource(bare), naming);
    const whole = withUsualNames(memorySource(new Map(tensors)), naming);
    expect([...named.tensors.names].sort()).toEqual([...whole.tensors.names].sort());
    expect(await named.tensors.read(usual)).toEqual(tensors.get(stored));
  });

  test("are not the usual ones where the family has others", async () => {
    const tensors = new Map(await saved(family));
    const { decoder } = naming.prefixes;
    const norm = `${decoder}norm.weight`;
    const strangers = [norm, `${decoder}constructor.weight`, `${decoder}layers.0.mlp.toString.weight`];
    const whole = withUsualNames(memorySource(new Map(tensors)), naming);
    for (const name of strangers) tensors.set(name, { shape: [1], data: Float32Array.of(5) });
    const named = withUsualNames(memorySource(tensors), naming);
    expect(await named.tensors.read("model.norm.weight")).toEqual(
      await whole.tensors.read("model.norm.weight"),
    );
    const added = named.tensors.names.filter((name) => !whole.tensors.names.includes(name));
    expect(added.map((name) => named.storedName(name))).toEqual(strangers);
  });
});

test.each(["", "language_model.model.", "model.language_model."])(
  "those of an OLMo, whose norms have no weights, are known with the prefix %j",
  async (prefix) => {
    const tensors = await saved("olmo");
    const other = new Map(
      [...tensors].map(([name, tensor]) => [name.replace(/^model\./, prefix), tensor] as const),
    );
    const named = withUsualNames(memorySource(other), familyByName("olmo", "test").stored);
    expect([...named.tensors.names].sort()).toEqual([...tensors.keys()].sort());
  },
);

test("those of an EXAONE 3 become the usual ones of a Llama, and stay GPT-Neo's in a GPT-Neo", async () => {
  const tensors = await saved("exaone");
  const naming = namingOf(familyByName("llama", "test"), tinySpec());
  const named = withUsualNames(memorySource(new Map(tensors)), naming);
  const llama = await saved("llama");
  expect([...named.tensors.names].sort()).toEqual([...llama.keys()].sort());
  const gate = "model.layers.2.mlp.gate_proj.weight";
  expect(named.storedName(gate)).toBe("transformer.h.2.mlp.c_fc_0.weight");
  expect(await named.tensors.read(gate)).toEqual(tensors.get("transformer.h.2.mlp.c_fc_0.weight"));
});
