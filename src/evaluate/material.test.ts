import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { letterModel } from "../../test/letter_model.ts";
import { silent } from "../base/progress.ts";
import type { Model } from "../model/model.ts";
import { type MaterialOptions, readMaterial, tokenMaterial } from "./material.ts";

/** A vocabulary of "a" and of the space, in the alphabet of byte-level tokenizers. */
const BYTES = { type: "BPE", vocab: { a: 0, Ġ: 1 }, merges: [], unk_token: "?" };

function chatting(template: string): Model {
  const model = letterModel();
  const bytes = Buffer.from(JSON.stringify({ chat_template: template }));
  return { ...model, files: [...model.files, { name: "tokenizer_config.json", bytes }] };
}

test("puts before a question the solved ones of the split that its YAML file names", async () => {
  const directory = await temporaryDirectory();
  for (const split of ["test", "dev"]) {
    await writeFile(join(directory, `${split}.jsonl`), JSON.stringify({ q: split }));
  }
  const path = join(directory, "task.yaml");
  const files = "dataset_path: json\ndataset_kwargs: {data_files: {test: test.jsonl, dev: dev.jsonl}}\n";
  const shots = "fewshot_split: dev\nnum_fewshot: 1\n";
  await writeFile(path, `${files}${shots}doc_to_text: q\ndoc_to_choice: [no, yes]\ndoc_to_target: 0\n`);
  const request = { seqLen: 4, onProgress: silent, tasks: [{ name: "t", path, weight: 1 }] };
  const { tasks } = await readMaterial([letterModel()], [], request);
  expect(tasks[0]![1].map(({ candidates, solved }) => [candidates[0]!.context, solved[0]!.context])).toEqual([
    ["test", "dev"],
  ]);
});

test("puts before a question the solved ones of the file that is given for its task", async () => {
  const directory = await temporaryDirectory();
  const file = async (name: string, query: string): Promise<string> => {
    const path = join(directory, `${name}.jsonl`);
    await writeFile(path, JSON.stringify({ query, choices: ["e", "f"], gold: 1 }));
    return path;
  };
  const tasks = [];
  for (const name of ["s", "t"]) tasks.push({ name, path: await file(name, name), weight: 1 });
  const pools = [{ name: "t", path: await file("shots", "shot"), weight: 1 }];
  const request = {
    seqLen: 4,
    onProgress: silent,
    tasks: tasks.slice(1),
    fewShot: { count: 1, seed: 0, pools },
  };
  const read = await readMaterial([letterModel()], [], request);
  expect(read.tasks[0]![1].map(({ solved }) => solved.map(({ context }) => context))).toEqual([["shot"]]);
  // The only question of the other task cannot be an example for itself.
  await expect(readMaterial([letterModel()], [], { ...request, tasks })).rejects.toMatchObject({
    code: "BAD_TEXT",
    message: expect.stringContaining("task s: "),
  });
});

test("takes few windows of a directory from all of its files, and the first ones of a file", async () => {
  const directory = await temporaryDirectory();
  for (const letter of ["a", "b", "c"]) {
    await writeFile(join(directory, `${letter}.txt`), `${letter} `.repeat(40));
  }
  const sets = [
    { name: "all", path: directory, weight: 1 },
    { name: "first", path: join(directory, "a.txt"), weight: 1 },
  ];
  const request = { seqLen: 4, onProgress: silent, limit: 3 };
  const model = letterModel();
  const { windows } = await tokenMaterial(model, await readMaterial([model], sets, request), request);
  expect(windows.map(([, own]) => own.map((window) => window[3]))).toEqual([
    [0, 1, 2],
    [0, 0, 0],
  ]);
});

test("tokenises no more of a file than a limited number of windows needs", async () => {
  const path = join(await temporaryDirectory(), "a.txt");
  // The end of the text has a word without a token, and a byte-level cut may be encoded in parts.
  await writeFile(path, `${"a ".repeat(40_000)}x`);
  const model = letterModel(
    {},
    {
      pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
      model: BYTES,
    },
  );
  const windowsOf = async (limit?: number) => {
    const request = { seqLen: 4, onProgress: silent, ...(limit !== undefined && { limit }) };
    const sets = [{ name: "a", path, weight: 1 }];
    return (await tokenMaterial(model, await readMaterial([model], sets, request), request)).windows[0]![1];
  };
  expect((await windowsOf(2)).map((window) => [...window])).toEqual([
    [0, 1, 0, 1],
    [0, 1, 0, 1],
  ]);
  await expect(windowsOf()).rejects.toMatchObject({ code: "BAD_TEXT" });
});

describe("questions as messages", () => {
  /** Contexts and answers, decoded to letters, of two questions with two choices each after one shot. */
  async function asked(model: Model, options: MaterialOptions): Promise<readonly string[]> {
    const path = join(await temporaryDirectory(), "questions.jsonl");
    const lines = ["a b", "c d"].map((query) => ({ query, choices: ["e", "f g"], gold: 1 }));
    await writeFile(path, lines.map((line) => JSON.stringify(line)).join("\n"));
    const tasks = [{ name: "t", path, weight: 1 }];
    const fewShot = { count: 1, seed: 0, pools: [] };
    const request = { seqLen: 4, onProgress: silent, tasks, fewShot, ...options };
    const { documents } = await tokenMaterial(model, await readMaterial([model], [], request), request);
    const letters = (ids: Int32Array): string => Array.from(ids, (id) => "abcdefghijklmnop"[id]).join("");
    return documents.flatMap(([, own]) =>
      own.flatMap(({ continuations }) =>
        continuations.map(
          ({ ids, context }) => `${letters(ids.subarray(0, context))}|${letters(ids.subarray(context))}`,
        ),
      ),
    );
  }

  test("are what the model's template makes of them", async () => {
    const roles = "{% for m in messages %}{{ {'user': 'u', 'assistant': 's', 'system': 'y'}[m.role] }}";
    // The template's letters u, s and y are none of the model's, and read as p.
    const model = chatting(
      `${roles} {{ m.content }} {% endfor %}{% if add_generation_prompt %}h {% endif %}`,
    );
    expect(await asked(model, {})).toEqual(["cdfgab|e", "cdfgab|fg", "abfgcd|e", "abfgcd|fg"]);
    expect(await asked(model, { chat: {} })).toEqual([
      "pcdpfgpabh|e",
      "pcdpfgpabh|fg",
      "pabpfgpcdh|e",
      "pabpfgpcdh|fg",
    ]);
    expect((await asked(model, { chat: { system: "l" } }))[0]).toBe("plpcdpfgpabh|e");
  });

  test("are counted where they are too long for the model", async () => {
    const cut: string[] = [];
    const onCut = (task: string, count: number): void => void cut.push(`${task} ${count}`);
    const model = chatting("{% for m in messages %}{{ m.content }} {% endfor %}");
    await asked(model, { chat: { system: "l ".repeat(60) }, onCut });
    expect(cut).toEqual(["t 2"]);
    await asked(model, { chat: {}, onCut });
    expect(cut).toHaveLength(1);
  });

  test("need a template", async () => {
    await expect(asked(letterModel(), { chat: {} })).rejects.toMatchObject({
      code: "BAD_ARGUMENT",
      message: "chat: expected a model with a chat template, got tiny",
    });
  });

  test("name the question that the template does not take", async () => {
    const refusing = chatting("{{ raise_exception('no ' + messages[0].role) }}");
    await expect(asked(refusing, { chat: { system: "l" } })).rejects.toMatchObject({
      code: "BAD_TEXT",
      message: expect.stringMatching(/^tiny: chat template, .*questions\.jsonl line 1: no system/),
    });
  });
});
