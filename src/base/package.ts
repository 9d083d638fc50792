/** Facts about this package: where it lies and which versions a result depends on. */
import { createRequire } from "node:module";
import { dirname } from "node:path";

const require = createRequire(import.meta.url);

/** The package's own directory, which holds `demo/`. */
export function packageDirectory(): string {
  return dirname(require.resolve("gprune/package.json"));
}

/** Versions of gprune, Node and ONNX Runtime, as recorded in results. */
export function versions(): Readonly<Record<"gprune" | "node" | "onnxruntime", string>> {
  const own = require("gprune/package.json") as {
    readonly version: string;
    readonly dependencies: Readonly<Record<string, string>>;
  };
  return {
    gprune: own.version,
    node: process.versions.node,
    onnxruntime: own.dependencies["onnxruntime-node"]!,
  };
}
