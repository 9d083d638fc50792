/** Facts about this package: its directory and the versions that a result depends on. */
import { createRequire } from "node:module";
import { dirname } from "node:path";

const require = createRequire(import.meta.url);

/** The package's own directory, which holds `demo/`. */
export function packageDirectory(): string {
  return dirname(require.resolve("gprune/package.json"));
}

/** Versions of gprune, Node and ONNX Runtime, as recorded in results. */
export function versions(): Readonly<Record<"gprune" | "node" | "onnxruntime", string>> {
  const manifest = require("gprune/package.json") as {
    readonly version: string;
    readonly dependencies: Readonly<Record<string, string>>;
  };
  return {
    gprune: manifest.version,
    node: process.versions.node,
    onnxruntime: manifest.dependencies["onnxruntime-node"]!,
  };
}
