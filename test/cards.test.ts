import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  exportGguf,
  exportHuggingFace,
  exportOnnx,
  openModel,
  prune,
  resolveRunConfig,
} from "../src/index.ts";
import { openGguf } from "../src/io/formats/gguf.ts";
import { temporaryDirectory } from "./directories.ts";
import { writeTinyCheckpoint } from "./tiny_checkpoint.ts";

const CARD = `---
license: other
license_name: llama3.2
license_link: LICENSE
language: [en, de]
base_model: org/somebody-elses
---
# A model
`;

test("a pruned model keeps licence, languages and chat templates, and tells nobody where the base lies", async () => {
  const root = await temporaryDirectory();
  const model = await writeTinyCheckpoint(join(root, "base"));
  await writeFile(join(model, "README.md"), CARD);
  await mkdir(join(model, "additional_chat_templates"));
  await writeFile(join(model, "additional_chat_templates", "tool_use.jinja"), "{{ tools }}");
  const output = join(root, "pruned");
  const plain = { method: "none", metric: "magnitude", recover: "none", ownText: "never" };
  await prune(resolveRunConfig({ model, output, ...plain }, "test"));
  const card = await readFile(join(output, "README.md"), "utf8");
  const front = card.split("\n---\n")[0]!.split("\n").slice(1);
  expect(front).toEqual([
    'license: "other"',
    'license_name: "llama3.2"',
    'license_link: "LICENSE"',
    'language: ["en","de"]',
    "library_name: transformers",
    "tags: [gprune, pruning, structured-pruning]",
  ]);
  expect(card).toContain("\n| base model | `base` |\n");
  expect(card).toContain("\n    model: base\n    output: pruned\n");
  expect(card).not.toContain(root);
  const yaml = await readFile(join(output, "gprune.yaml"), "utf8");
  expect(yaml).toContain(`model: ${model}\noutput: ${output}\n`);
  expect(await readFile(join(output, "additional_chat_templates", "tool_use.jinja"), "utf8")).toBe(
    "{{ tools }}",
  );
  const facts = JSON.parse(await readFile(join(output, "facts.json"), "utf8")) as { facts: unknown };
  expect(facts.facts).toMatchObject({ written: { card: { license: "other" } } });

  const pruned = await openModel(output);
  const file = join(root, "pruned.gguf");
  await exportGguf(pruned, file);
  await pruned.weights.close();
  const { metadata, source } = await openGguf(file);
  await source.close();
  const keys = [...metadata].filter(([key]) => /^general\.(license|languages)/.test(key));
  expect(Object.fromEntries(keys)).toEqual({
    "general.license": "other",
    "general.license.name": "llama3.2",
    "general.license.link": "LICENSE",
    "general.languages": ["en", "de"],
  });
  const opened = await openModel(file);
  await opened.weights.close();
  expect(Buffer.from(opened.card!).toString().split("\n")).toEqual(["---", ...front.slice(0, 4), "---", ""]);
});

test("copies of a pruned model have cards that hold for them, and other cards are carried as they are", async () => {
  const root = await temporaryDirectory();
  const base = await writeTinyCheckpoint(join(root, "base"));
  await writeFile(join(base, "README.md"), CARD);
  const output = join(root, "pruned");
  const plain = {
    method: "none",
    metric: "magnitude",
    recover: "none",
    ownText: "never",
    allocation: "global",
  };
  await prune(resolveRunConfig({ model: base, output, ...plain }, "test"));
  const cardOf = (directory: string): Promise<string> => readFile(join(directory, "README.md"), "utf8");
  const copies = async (path: string): Promise<readonly string[]> => {
    const model = await openModel(path);
    await exportOnnx(model, `${path}-onnx`);
    await exportHuggingFace(model, `${path}-hf`, { dtype: "f32" });
    await model.weights.close();
    return Promise.all([cardOf(`${path}-onnx`), cardOf(`${path}-hf`)]);
  };
  const original = await cardOf(output);
  expect(original).toContain("modeling_gprune.py");
  const [onnx, hf] = (await copies(output)) as [string, string];
  expect(original).toContain("`plan.json` lists");
  expect(hf).toBe(original.replace(/`plan\.json` lists .*? The/, "The"));
  for (const word of ["modeling_gprune", "plan.json", "gprune eval", "trust_remote_code", "after gprune"])
    expect(onnx).not.toContain(word);
  expect(onnx).toContain("\nlibrary_name: transformers.js\ntags: [gprune, ");
  expect(onnx).toMatch(
    /\n## Loading\n\ntransformers\.js loads this model:\n[^#]*`onnx\/model\.onnx`[^#]*\n\n## Evaluation\n\n/,
  );
  expect(onnx.split("The configuration was:")[1]).toBe(original.split("The configuration was:")[1]);
  expect(await copies(base)).toEqual([CARD, CARD]);
});
