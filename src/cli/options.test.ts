import { homedir } from "node:os";
import { Command, type Option } from "commander";
import { describe, expect, test } from "vitest";
import {
  choiceOption,
  countOption,
  directoryOption,
  numberOption,
  requireNoMoreWords,
  requireWords,
  serverOption,
  sizeOption,
  textSetsOption,
} from "./options.ts";

/** Value of the option in a command line. */
function parsed(option: Option, ...words: readonly string[]): unknown {
  const command = new Command().exitOverride().addOption(option);
  return command.parse(words, { from: "user" }).opts()[option.attributeName()];
}

describe("numberOption", () => {
  const sparsity = (): Option =>
    numberOption("-s, --sparsity <x>", "", { min: 0, below: 1, hint: "A fraction." });

  test.each([
    ["0", 0],
    ["0.25", 0.25],
    ["1e-3", 0.001],
  ])("takes %s", (text, value) => {
    expect(parsed(sparsity(), "-s", text)).toBe(value);
  });

  test.each(["1", "-0.1", "NaN", "Infinity", "", " ", "0.3x", "30%"])("refuses %j", (text) => {
    expect(() => parsed(sparsity(), "--sparsity", text)).toThrowError(
      expect.objectContaining({
        code: "BAD_ARGUMENT",
        message: `--sparsity: expected a number of at least 0 and below 1, got ${JSON.stringify(text)}`,
        hint: "A fraction.",
      }),
    );
  });
});

describe("numberOption with a most", () => {
  const share = (): Option => numberOption("--top-p <p>", "", { min: 0.01, max: 1 });

  test("takes the most itself, and names it", () => {
    expect(parsed(share(), "--top-p", "1")).toBe(1);
    expect(() => parsed(share(), "--top-p", "2")).toThrowError(
      '--top-p: expected a number of at least 0.01 and at most 1, got "2"',
    );
  });
});

describe("sizeOption", () => {
  const memory = (): Option => sizeOption("--max-memory <size>", "");

  test("takes sizes with a unit, and bytes without one", () => {
    for (const [text, bytes] of [
      ["4GB", 4e9],
      ["4B", 4],
      ["4000000000", 4e9],
    ] as const) {
      expect(parsed(memory(), "--max-memory", text)).toBe(bytes);
    }
  });

  test("refuses a number that must lack its unit, and what is no size", () => {
    const expected = "--max-memory: expected a size such as 4GB or 512MiB, got ";
    for (const text of ["4", "16.5", "999999"]) {
      expect(() => parsed(memory(), "--max-memory", text)).toThrowError(
        expect.objectContaining({
          message: `${expected}"${text}"`,
          hint: `A number without a unit would mean bytes; write ${text}GB or ${text}MB.`,
        }),
      );
    }
    expect(() => parsed(memory(), "--max-memory", "much")).toThrowError(`${expected}"much"`);
  });
});

describe("countOption", () => {
  test("takes whole numbers from the least one, or its default", () => {
    const option = (): Option => countOption("--samples <n>", "", { min: 2, default: 16 });
    expect(parsed(option(), "--samples", "2")).toBe(2);
    expect(parsed(option())).toBe(16);
    for (const text of ["1", "2.5", "1e30", "many"]) {
      expect(() => parsed(option(), "--samples", text)).toThrowError(/expected a whole number of at least 2/);
    }
  });
});

describe("choiceOption", () => {
  test("takes the words it lists, in large letters as well, and names one that is like another", () => {
    const option = (): Option => choiceOption("--dtype <name>", "", ["f32", "q4_k"]);
    expect(parsed(option(), "--dtype", "f32")).toBe("f32");
    expect(parsed(option(), "--dtype", "F32")).toBe("f32");
    expect(() => parsed(option(), "--dtype", "Q4_K_M")).toThrowError(
      expect.objectContaining({
        message: '--dtype: expected one of f32, q4_k, got "Q4_K_M"',
        hint: "Did you mean q4_k?",
      }),
    );
    expect(new Command().addOption(option()).helpInformation()).toContain('choices: "f32", "q4_k"');
  });
});

describe("serverOption", () => {
  const server = (): Option => serverOption("--redis <url>", "");

  test.each(["redis://host", "rediss://u:p@host:1/2", "postgres://u@host/db", "postgresql://host/db"])(
    "takes %s",
    (text) => expect(parsed(server(), "--redis", text)).toBe(text),
  );

  test.each([
    ["http://u:secret@host/x", "http://host/x"],
    ["localhost:6379", "localhost:6379"],
    ["u:secret@host", "..."],
    ["", ""],
  ])("refuses %j before anything is opened, without its password", (text, shown) => {
    expect(() => parsed(server(), "--redis", text)).toThrowError(
      expect.objectContaining({
        code: "BAD_ARGUMENT",
        message: `--redis: expected redis://HOST[:PORT][/DB] or postgres://[USER@]HOST[:PORT]/DATABASE, got "${shown}"`,
      }),
    );
  });
});

describe("textSetsOption", () => {
  const option = (): Option => textSetsOption("--text <texts...>", "");

  test("takes several values at once and again", () => {
    expect(parsed(option(), "--text", "a=1", "b=2", "--text", "c=3")).toEqual(["a=1", "b=2", "c=3"]);
    expect(parsed(option())).toBeUndefined();
  });

  test("expands ~ after = where a shell does not", () => {
    const home = homedir();
    expect(parsed(option(), "--text", "a=~/b=c", "d=~e", "f=/~/g")).toEqual([
      `a=${home}/b=c`,
      "d=~e",
      "f=/~/g",
    ]);
    expect(parsed(directoryOption("-o, --output <dir>", ""), "--output=~/x")).toBe(`${home}/x`);
  });

  test("hints at a model that was taken for one of its values", () => {
    expect(() => parsed(option(), "--text", "a=1", "model")).toThrowError(
      expect.objectContaining({
        code: "BAD_ARGUMENT",
        hint: expect.stringContaining("put the model before"),
      }),
    );
  });

  test.each([
    ["texts/web.txt", "web=texts/web.txt"],
    ["logs.jsonl.gz#body:2", "logs=logs.jsonl.gz#body:2"],
    ["texts/code/", "code=texts/code/"],
    ["./..", "name=./.."],
    ["web", "web=PATH"],
  ])("suggests a name for the path %s", (path, named) => {
    expect(() => parsed(option(), "--text", path)).toThrowError(
      expect.objectContaining({ hint: expect.stringContaining(`as in ${named}. `) }),
    );
  });
});

describe("requireWords", () => {
  const command = (...words: readonly string[]): Command =>
    new Command()
      .exitOverride()
      .argument("<model>")
      .argument("[others...]")
      .option("-o, --output <dir>")
      .option("--prompt <text>")
      .parse(words, { from: "user" });

  test("names what is empty, but for what may be", () => {
    requireWords(command("m", "-o", "a", "--prompt", ""));
    requireWords(command("m"));
    expect(() => requireWords(command("m", "-o", ""))).toThrow('--output: expected a value, got ""');
    expect(() => requireWords(command(""))).toThrow('MODEL: expected a value, got ""');
    expect(() => requireWords(command("m", "a", "b", ""))).toThrow('OTHERS: expected a value, got ""');
  });
});

describe("requireNoMoreWords", () => {
  const command = (words: readonly string[], ...names: readonly string[]): Command => {
    const made = new Command("look").exitOverride().allowExcessArguments().usage("MODEL [options]\nmore");
    for (const name of names) made.argument(name);
    return made.parse(words, { from: "user" });
  };

  test("refuses the first word beyond the arguments, and says how the command is used", () => {
    expect(() => requireNoMoreWords(command(["m", "a", "b"], "<model>"))).toThrowError(
      expect.objectContaining({
        code: "BAD_ARGUMENT",
        message: 'look: expected no arguments after MODEL, got "a"',
        hint: "gprune look MODEL [options]",
      }),
    );
    expect(() => requireNoMoreWords(command(["a"]))).toThrow('look: expected no arguments, got "a"');
    requireNoMoreWords(command(["m"], "<model>"));
    requireNoMoreWords(command(["m", "a", "b"], "<model>", "[others...]"));
  });
});

describe("directoryOption", () => {
  const resume = (): Option => directoryOption("--resume <dir>", "");

  test("takes a directory, and not the option that follows it", () => {
    expect(parsed(resume(), "--resume", "./-q")).toBe("./-q");
    expect(() => parsed(resume(), "--resume", "-q")).toThrow(
      expect.objectContaining({
        message: '--resume: expected a directory, got "-q"',
        hint: expect.stringContaining("./-q"),
      }),
    );
  });
});
