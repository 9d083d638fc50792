/** Output of the command line for hostile files: no control characters. */
import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { kindOfPath } from "../src/io/files/file.ts";
import { suiteDirectory } from "./directories.ts";
import { buildGguf, floatTensor, text } from "./gguf_builder.ts";
import { type CliResult, gprune } from "./run_cli.ts";
import { safetensorsBytes } from "./safetensors_builder.ts";
import { writeTinyCheckpoint } from "./tiny_checkpoint.ts";

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const STEERING = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
const EVIL = "\u001b]0;owned\u0007\u009b31m\u202e\nhint: run this";

const root = suiteDirectory("hostile");
function expectHarmless({ stdout, stderr }: CliResult): void {
  expect(stdout + stderr).not.toMatch(STEERING);
  expect(stderr).not.toMatch(/^hint: run this/m);
}

describe("a tokenizer that was cut off", () => {
  test("is not copied, even when no text is needed", async () => {
    const model = await writeTinyCheckpoint(join(root(), "cut"));
    await writeFile(join(model, "tokenizer.json"), '{"model": {"vocab": {"a":');
    const output = join(root(), "of-cut");
    const metric = ["--method", "none", "--metric", "magnitude", "--recover", "none"];
    for (const command of [["prune", ...metric], ["export"], ["export", "--format", "onnx"]]) {
      const result = await gprune(...command, model, "-o", output);
      expect(result).toMatchObject({ code: 1, stdout: "" });
      expect(result.stderr).toContain(`${model}: tokenizer.json: expected JSON, got `);
      expect(result.stderr).toContain("hint: The file is damaged; copy or download it again.");
      expect(await kindOfPath(output)).toBe("missing");
    }
  });
});

describe("names that steer terminals", () => {
  test("of tensors in a GGUF file", async () => {
    const path = join(root(), "x.gguf");
    const tensor = { ...floatTensor(EVIL, [1], Float32Array.of(1)), dimensions: [1, 1, 1, 1, 1] };
    await writeFile(path, buildGguf({ metadata: [["general.name", text(EVIL)]], tensors: [tensor] }));
    const result = await gprune("inspect", path);
    expect(result.code).toBe(1);
    expect(result.stderr).toContain(
      "tensor \\x1b]0;owned\\x07\\x9b31m\\u202e\\x0ahint: run this: expected at most 4",
    );
    expectHarmless(result);
  });

  test("of tensors and keys in a checkpoint", async () => {
    const model = await writeTinyCheckpoint(join(root(), "model"));
    const header = { [EVIL]: { dtype: EVIL, shape: [1], data_offsets: [0, 4] } };
    await writeFile(join(model, "model.safetensors"), safetensorsBytes(header, 4));
    const result = await gprune("inspect", model);
    expect(result.code).toBe(1);
    expectHarmless(result);
    await writeFile(join(model, "config.json"), JSON.stringify({ model_type: EVIL }));
    expectHarmless(await gprune("inspect", model));
  });

  test("of directories and sets, in results and in JSON", async () => {
    const plain = await writeTinyCheckpoint(join(root(), "named"));
    const model = join(root(), "m\u009b31m\u202e");
    await rename(plain, model);
    const shown = await gprune("inspect", model);
    expect(shown).toMatchObject({ code: 0, stdout: expect.stringContaining("m\\x9b31m\\u202e") });
    expectHarmless(shown);
    const json = await gprune("inspect", model, "--json");
    expectHarmless(json);
    expect(JSON.parse(json.stdout)).toMatchObject({ model });
  });
});
