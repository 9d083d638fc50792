/** Wrong arguments of library functions, as JavaScript programs or undefined variables give them. */
import { describe, expect, test } from "vitest";
import { metricByName, openModel, pushDirectory, readRun, readTask } from "../src/index.ts";

describe.each<readonly [string, (name: string) => unknown]>([
  ["model", openModel],
  ["run", readRun],
  ["task", readTask],
  ["directory", (name) => pushDirectory(name, "org/name")],
  ["repository", (name) => pushDirectory("out", name)],
  ["metric", metricByName],
])("%s", (where, call) => {
  test.each([undefined, null, 42, ""])("refuses %j by its name", async (value) => {
    const message = `${where}: expected a name or a path, got ${value === "" ? '""' : value}`;
    const asked = (async () => call(value as string))();
    await expect(asked).rejects.toMatchObject({ name: "GpruneError", code: "BAD_ARGUMENT", message });
    await expect(asked).rejects.toHaveProperty("hint", expect.any(String));
  });
});
