/** All programs that load ONNX Runtime, tests included, turn its telemetry off before. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "..");
/** Imports of packages that load ONNX Runtime, and the `require` of one. */
const LOADS =
  /^import (?!type ).* from "(onnxruntime-node|@huggingface\/transformers)";$|\("onnxruntime-node"\)/m;
/** The import that turns telemetry off comes first, since imports are evaluated in order. */
const TURNED_OFF_FIRST = /^(?:(?!import ).*\n)*import "[./]+(?:src\/graph\/runtime\/)?no_telemetry[.]ts";\n/;

const loaders = ["src", "test", "scripts", "bench"]
  .flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" }).map((name) => join(folder, name)),
  )
  .filter((path) => /[.]m?[jt]s$/.test(path) && !path.includes("node_modules"))
  .filter((path) => LOADS.test(readFileSync(join(ROOT, path), "utf8")));

test("there are programs that load it", () => {
  expect(loaders).toEqual(
    expect.arrayContaining([
      join("src", "graph", "runtime", "onnx_runtime.ts"),
      join("test", "onnx_session.ts"),
    ]),
  );
});

test.each(loaders)("%s imports no_telemetry before ONNX Runtime", (path) => {
  expect(readFileSync(join(ROOT, path), "utf8")).toMatch(TURNED_OFF_FIRST);
});

test("a program that turns it off after another import is found", () => {
  const off = 'import "../src/graph/runtime/no_telemetry.ts";\n';
  const loads = 'import * as ort from "onnxruntime-node";\n';
  expect(`/** A program. */\n${off}${loads}`).toMatch(TURNED_OFF_FIRST);
  expect(`/** A program. */\n${loads}${off}`).not.toMatch(TURNED_OFF_FIRST);
});
