import fc from "fast-check";
import { expect, test } from "vitest";
import { GpruneError } from "../../src/errors.ts";
import { temporaryDirectory } from "../../test/directories.ts";
import { fuzz } from "./harness.ts";

test("an input whose data is refused was not read", async () => {
  const refuse = async (): Promise<void> => {
    throw new GpruneError("BAD_FILE", "x.bin: expected data, got none");
  };
  const files = fc.constantFrom(0, 1).map((first) => ({ "x.bin": Uint8Array.of(first) }));
  const count = async (open: () => Promise<(() => Promise<void>) | undefined>): Promise<number> => {
    const target = { name: "refusing", share: 1, files, open };
    const result = await fuzz(target, { inputs: 8, seed: 1, directory: await temporaryDirectory() });
    expect(result).toMatchObject({ inputs: 8, failure: null });
    return result.accepted;
  };
  expect(await count(async () => refuse)).toBe(0);
  expect(await count(refuse as () => Promise<undefined>)).toBe(0);
  expect(await count(async () => undefined)).toBe(8);
  expect(await count(async () => async () => {})).toBe(8);
});
