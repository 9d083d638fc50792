import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../../test/directories.ts";
import { MockHub } from "../../test/mock_hub.ts";
import type { TaskDocument } from "./task_documents.ts";
import { readPool, readTask } from "./task_file.ts";

const ARC = [
  { question: " What shines?", choices: { text: ["sun", "moon"], label: ["A", "B"] }, answerKey: "A" },
  { question: "What waxes?", choices: { text: ["sun", "moon"], label: ["1", "2"] }, answerKey: "2" },
];

/** Reads a task of this YAML beside a file of these records; its directory is removed from messages. */
async function readYaml(
  yaml: string,
  records: readonly unknown[] = ARC,
  limit?: number,
): Promise<readonly TaskDocument[]> {
  const directory = await temporaryDirectory();
  await writeFile(join(directory, "a.jsonl"), records.map((record) => JSON.stringify(record)).join("\n"));
  const path = join(directory, "task.yaml");
  await writeFile(path, yaml);
  return readTask(path, limit).catch((error: Error) => {
    error.message = error.message.replaceAll(`${directory}/`, "");
    throw error;
  });
}

const HEAD = "dataset_path: json\ndataset_kwargs: {data_files: {test: a.jsonl}}\n";
const TEMPLATES = `
doc_to_text: "Question: {{question.strip()}}\\nAnswer:"
doc_to_choice: "{{choices.text}}"
doc_to_target: "{{choices.label.index(answerKey)}}"
`;

describe("tasks by templates", () => {
  test("are read as lm-evaluation-harness reads them", async () => {
    const extra =
      "task: mine\ntest_split: test\ngen_prefix: null\nmetric_list: [{metric: acc}]\ndescription: 'Answer.\n\n  '\n";
    const [first, second] = await readYaml(HEAD + extra + TEMPLATES);
    expect(first).toMatchObject({
      gold: 0,
      description: "Answer.\n",
      candidates: [
        { context: "Question: What shines?\nAnswer:", delimiter: " ", answer: "sun" },
        { context: "Question: What shines?\nAnswer:", delimiter: " ", answer: "moon" },
      ],
    });
    expect(second).toMatchObject({ gold: 1, where: expect.stringMatching(/a\.jsonl line 2$/) });
  });

  test("are known by an upper-case ending, too", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "a.jsonl"), ARC.map((record) => JSON.stringify(record)).join("\n"));
    await writeFile(join(directory, "TASK.YML"), HEAD + TEMPLATES);
    expect(await readTask(join(directory, "TASK.YML"))).toMatchObject([{ gold: 0 }, { gold: 1 }]);
  });

  test("name fields, list choices, and give the right answer as its text", async () => {
    const yaml = `
dataset_path: json
dataset_kwargs: {data_files: a.jsonl}
doc_to_text: q
doc_to_choice: ["no {", "yes"]
doc_to_target: a
target_delimiter: ""
`;
    const records = [
      { q: "ok\n", a: "yes" },
      { q: "?", a: 0 },
    ];
    expect(await readYaml(yaml, records)).toMatchObject([
      { gold: 1, candidates: [{ context: "ok\n", delimiter: "", answer: "no {" }, { answer: "yes" }] },
      { gold: 0 },
    ]);
    expect(await readYaml(yaml, records, 1)).toHaveLength(1);
  });

  test("have a description that is a template, or a field, as in lm-evaluation-harness 0.4.13", async () => {
    const records = [
      { q: "?", topic: "law " },
      { q: "?", topic: "art" },
    ];
    const descriptions = async (description: string): Promise<readonly (string | undefined)[]> => {
      const rest = 'doc_to_text: q\ndoc_to_choice: "{{[topic, q]}}"\ndoc_to_target: "1"\n';
      const documents = await readYaml(`${HEAD}description: "${description}"\n${rest}`, records);
      return documents.map((document) => document.description);
    };
    expect(await descriptions("On {{topic.strip()}}.\\n\\n")).toEqual(["On law.\n\n", "On art.\n\n"]);
    expect(await descriptions("topic")).toEqual(["law ", "art"]);
    await expect(descriptions("On {{subject}}.")).rejects.toMatchObject({
      message: "task.yaml: description: expected a field of the records, got subject",
    });
  });

  test("may name fields that only later records have, however few are read", async () => {
    const yaml = `${HEAD}doc_to_text: "{% if hint %}{{hint}}: {% endif %}{{q}}"\ndoc_to_choice: [no, yes]\ndoc_to_target: 0\n`;
    const [first, ...more] = await readYaml(yaml, [{ q: "a" }, { q: "b", hint: "h" }], 1);
    expect([first!.candidates[0]!.context, more]).toEqual(["a", []]);
  });

  test.each([
    ["fewshot_split: dev\ntraining_split: train\n", "dev"],
    ["fewshot_config: {sampler: first_n, split: dev}\ntraining_split: train\n", "dev"],
    ["training_split: train\nvalidation_split: dev\n", "train"],
    ["validation_split: dev\n", "dev"],
    ["", "test"],
  ])("draw solved questions from the split that the harness takes: %j", async (splits, taken) => {
    const directory = await temporaryDirectory();
    for (const split of ["test", "dev", "train"]) {
      await writeFile(join(directory, `${split}.jsonl`), JSON.stringify({ q: split }));
    }
    const path = join(directory, "task.yaml");
    const files = "{test: test.jsonl, dev: dev.jsonl, train: train.jsonl}";
    const yaml = `dataset_path: json\ndataset_kwargs: {data_files: ${files}}\ntest_split: test\n${splits}`;
    await writeFile(path, `${yaml}doc_to_text: q\ndoc_to_choice: [no, yes]\ndoc_to_target: 0\n`);
    const asked = async (documents: Promise<readonly TaskDocument[]>) =>
      (await documents).map(({ candidates }) => candidates[0]!.context);
    expect(await asked(readTask(path))).toEqual(["test"]);
    expect((await readTask(path))[0]!.firstShots).toBe(splits.includes("first_n"));
    expect(await asked(readPool(path, null, {}))).toEqual([taken]);
  });

  test("have no solved questions that are to look different", async () => {
    const directory = await temporaryDirectory();
    await writeFile(join(directory, "a.jsonl"), ARC.map((record) => JSON.stringify(record)).join("\n"));
    const path = join(directory, "task.yaml");
    await writeFile(path, `${HEAD}fewshot_config: {doc_to_text: "{{question}}"}${TEMPLATES}`);
    expect(await readTask(path)).toHaveLength(2);
    await expect(readPool(path, null, {})).rejects.toMatchObject({
      code: "BAD_FILE",
      message: `${path}: fewshot_config: expected only sampler and split, since other keys would change prompts, got doc_to_text`,
    });
  });

  test("have their records beside them on the hub, too", async () => {
    const hub = await MockHub.start();
    const bytes = (text: string): { readonly bytes: Buffer } => ({ bytes: Buffer.from(text) });
    const yaml = (file: string): string => HEAD.replace("a.jsonl", file) + TEMPLATES;
    const files = new Map([
      ["tasks/arc.yaml", bytes(yaml("a.jsonl"))],
      ["tasks/up.yaml", bytes(yaml("../b.jsonl"))],
      ["tasks/local.yaml", bytes(yaml("/etc/hostname"))],
      ["tasks/a.jsonl", bytes(JSON.stringify(ARC[0]))],
      ["b.jsonl", bytes(JSON.stringify(ARC[1]))],
    ]);
    hub.add({ name: "datasets/org/set", files });
    const options = hub.options(await temporaryDirectory());
    const read = (name: string): Promise<readonly TaskDocument[]> =>
      readTask(`hf://datasets/org/set@main/tasks/${name}.yaml`, undefined, options);
    expect([await read("arc"), await read("up")]).toMatchObject([[{ gold: 0 }], [{ gold: 1 }]]);
    await expect(read("local")).rejects.toThrow("hf://datasets/org/set/tasks/etc/hostname");
    await hub.close();
  });

  test("keep a line break at the end of a prompt", async () => {
    const yaml = `${HEAD}doc_to_text: "{{a}}\\n"\ndoc_to_choice: [x, y]\ndoc_to_target: "1"\n`;
    const [document] = await readYaml(yaml, [{ a: "b" }]);
    expect(document!.candidates[0]!.context).toBe("b\n");
  });

  test("keep white space around tags", async () => {
    const listed = "{% for c in l %}\\n  {% if c %}- {{c}}{% endif %}\\n{% endfor %}\\n{# c #}\\nAnswer:";
    const yaml = `${HEAD}doc_to_text: "${listed}"\ndoc_to_choice: [x, y]\ndoc_to_target: "1"\n`;
    const [document] = await readYaml(yaml, [{ l: ["a", "b"] }]);
    // As jinja2 3.1 with keep_trailing_newline renders it.
    expect(document!.candidates[0]!.context).toBe("\n  - a\n\n  - b\n\n\nAnswer:");
  });

  test("print lists and records as Python does", async () => {
    const yaml = `${HEAD}doc_to_text: "{{x}}"\ndoc_to_choice: ["a", "b"]\ndoc_to_target: 0\n`;
    const record = { x: ["it's", 'a "b"', "'\"\\\n", null, [true, 1.5, {}], { k: "v", l: [] }] };
    const [document] = await readYaml(yaml, [record]);
    // repr() of the same in Python.
    const expected = String.raw`["it's", 'a "b"', '\'"\\\n', None, [True, 1.5, {}], {'k': 'v', 'l': []}]`;
    expect(document!.candidates[0]!.context).toBe(expected);
  });

  test("print what Python prints, and a field that only other records have as None", async () => {
    const text = "{% set s = none %}{{a}} {{b}} {{c}}{% if c %}!{% endif %}";
    const yaml = `${HEAD}doc_to_text: "${text}"\ndoc_to_choice: [x, y]\ndoc_to_target: "1"\n`;
    const documents = await readYaml(yaml, [
      { a: true, b: null },
      { a: false, b: 1, c: "d" },
    ]);
    const contexts = documents.map(({ candidates }) => candidates[0]!.context);
    expect(contexts).toEqual(["True None None", "False 1 d!"]);
  });

  test("take a choice of digits that a field names for the choice, and a truth for its number", async () => {
    const yaml = `${HEAD}doc_to_text: q\ndoc_to_choice: options\ndoc_to_target: a\n`;
    const options = ["4", "2", "1", "0"];
    const records = ["1", "0", 1, "3", true].map((a) => ({ q: "?", options, a }));
    const documents = await readYaml(yaml, records);
    expect(documents.map(({ gold }) => gold)).toEqual([2, 3, 1, 3, 1]);
  });

  test.each(["n", "{{n}}", "{{n|int}}"])(
    "choose from contexts where the prompt is a number: %s",
    async (prompt) => {
      const yaml = `${HEAD}doc_to_text: "${prompt}"\ndoc_to_choice: "{{[a, b]}}"\ndoc_to_target: rest\n`;
      const records = [
        { n: 1, a: "The cat", b: "The dog", rest: "barks." },
        { n: 0, a: "The sun", b: "The moon", rest: "2" },
      ];
      // As `fewshot_context` and `construct_requests` of lm-evaluation-harness 0.4.13 have them.
      expect(await readYaml(yaml, records)).toMatchObject([
        {
          gold: 1,
          candidates: [
            { context: "The cat", delimiter: " ", answer: "barks." },
            { context: "The dog", delimiter: " ", answer: "barks." },
          ],
        },
        { gold: 0, candidates: [{ context: "The sun", answer: "2" }, { context: "The moon" }] },
      ]);
      await expect(readYaml(yaml, [...records, { ...records[0], n: 2 }])).rejects.toMatchObject({
        message: "a.jsonl line 3: expected a choice or its index, 0 to 1 from doc_to_text, got 2",
      });
    },
  );

  test("take a field of digits, and a number behind a first text, for prompts", async () => {
    const rest = "\ndoc_to_choice: [x, y]\ndoc_to_target: 0\n";
    const contexts = async (prompt: string, records: readonly unknown[]) =>
      (await readYaml(`${HEAD}doc_to_text: "${prompt}"${rest}`, records)).map(
        ({ candidates }) => candidates[0]!.context,
      );
    expect(await contexts("q", [{ q: "1" }])).toEqual(["1"]);
    expect(await contexts("{{q}}", [{ q: "a" }, { q: 1 }])).toEqual(["a", "1"]);
  });

  test("say that digits of a template are a number, though there is such a choice", async () => {
    const yaml = `${HEAD}doc_to_text: q\ndoc_to_choice: options\ndoc_to_target: "{{a}}"\n`;
    await expect(readYaml(yaml, [{ q: "?", options: ["8", "9"], a: "8" }])).rejects.toMatchObject({
      message: "a.jsonl line 1: expected a choice or its index, 0 to 1 from doc_to_target, got 8",
      hint: "Digits are read as an index, as in lm-evaluation-harness; give the field that holds the choice itself.",
    });
    expect(
      await readYaml(yaml.replace('"{{a}}"', "a"), [{ q: "?", options: ["8", "9"], a: "9" }]),
    ).toMatchObject([{ gold: 1 }]);
  });

  test("take a choice with spaces for itself", async () => {
    const yaml = `${HEAD}doc_to_text: q\ndoc_to_choice: [" no", " yes"]\ndoc_to_target: "{{' ' + a}}"\n`;
    expect(await readYaml(yaml, [{ q: "?", a: "yes" }])).toMatchObject([{ gold: 1 }]);
  });

  test.each<[string, string, string, string]>([
    [
      "a value that is not there",
      HEAD + TEMPLATES.replace("question.strip()", "choices.texts"),
      "BAD_TEXT",
      "a.jsonl line 1: doc_to_text: expected a defined value, got an undefined one",
    ],
    [
      "an unknown field",
      HEAD + TEMPLATES.replace("question.", "query."),
      "BAD_FILE",
      "task.yaml: doc_to_text: expected a field of the records, got query",
    ],
    [
      "a template that does not end",
      HEAD + TEMPLATES.replace("()}}", "()"),
      "BAD_FILE",
      "task.yaml: doc_to_text: expected a valid Jinja template, got: ",
    ],
    [
      "a function of Python",
      `${HEAD}doc_to_text: !function utils.text\ndoc_to_choice: [a, b]\ndoc_to_target: 0`,
      "BAD_FILE",
      "task.yaml: Unresolved tag: !function",
    ],
    [
      "another kind of task",
      `${HEAD}output_type: generate_until\n${TEMPLATES}`,
      "BAD_FILE",
      "task.yaml: expected multiple_choice; other types are not supported",
    ],
    [
      "what includes another file and lacks its templates",
      `${HEAD}include: base.yaml\ndoc_to_text: a\n`,
      "BAD_FILE",
      "task.yaml: expected no include; copy the included settings into this file\n  → at include\nexpected a template, a field or a list",
    ],
    [
      "what would change prompts and is not read",
      `${HEAD}gen_prefix: "The answer is"\nfewshot_delimiter: "\\n"\n${TEMPLATES}`,
      "BAD_FILE",
      "task.yaml: expected none; this key would change prompts and is not supported\n  → at gen_prefix\nexpected an empty line (\\n\\n); other delimiters are not supported",
    ],
    [
      "no file",
      `dataset_path: org/name\n${TEMPLATES}`,
      "BAD_FILE",
      "task.yaml: expected a file of test in dataset_kwargs.data_files, got none",
    ],
    [
      "a split that is named like a method of objects",
      `${HEAD}test_split: constructor\n${TEMPLATES}`,
      "BAD_FILE",
      "task.yaml: expected a file of constructor in dataset_kwargs.data_files, got none",
    ],
    [
      "a right answer that is no choice",
      HEAD + TEMPLATES.replace("{{choices.label.index(answerKey)}}", "C"),
      "BAD_TEXT",
      "a.jsonl line 1: expected a choice or its index, 0 to 1 from doc_to_target, got C",
    ],
    [
      "choices that are no texts",
      HEAD + TEMPLATES.replace("{{choices.text}}", "{{[1, 2]}}"),
      "BAD_TEXT",
      "a.jsonl line 1: expected at least two texts from doc_to_choice, got [1, 2]",
    ],
    ...["choices: {{choices.text}}", "{{choices.text}}, {{choices.label}}"].map(
      (text): [string, string, string, string] => [
        `choices that are text with a list in it: ${text}`,
        HEAD + TEMPLATES.replace("{{choices.text}}", text),
        "BAD_FILE",
        `task.yaml: doc_to_choice: expected {{ a list }}, the name of a field, or a list, got ${text}`,
      ],
    ),
    [
      "what fails at a record",
      HEAD + TEMPLATES.replace("question.strip()", "question.nothing()"),
      "BAD_TEXT",
      "a.jsonl line 1: doc_to_text: ",
    ],
  ])("refuse %s", async (_, yaml, code, message) => {
    await expect(readYaml(yaml)).rejects.toMatchObject({
      code,
      message: expect.stringContaining(message),
    });
  });

  test("end when they take too much memory", async () => {
    const hungry =
      "{% set ns = namespace(a='x') %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}{{question}}";
    const yaml = HEAD + TEMPLATES.replace("Question: {{question.strip()}}\\nAnswer:", hungry);
    await expect(readYaml(yaml)).rejects.toMatchObject({ code: expect.stringMatching(/^BAD_(FILE|TEXT)$/) });
  });
});
