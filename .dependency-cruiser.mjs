/**
 * The layer rule as a machine reads it. Imports go one way: a folder imports from itself and from the folders listed
 * before it, type-only imports included. Only *.test.ts files are free. A new folder in src/ must be added to LAYERS.
 */

/** Lowest first. index.ts stands before cli and ui: it exports everything but them, and they do not need it. */
const LAYERS = [
  "errors.ts",
  "base",
  "tensor",
  "io/files",
  "io/formats",
  "io/hub",
  "io/texts",
  "io/store",
  "io/run",
  "jinja",
  "model/*.ts",
  "model/families",
  "model/tokenizer",
  "model/hf",
  "model/gguf",
  "model/checkpoint",
  "graph/ir",
  "graph/runtime",
  "graph/decoder",
  "calibrate",
  "score",
  "prune",
  "recover",
  "gprune",
  "export",
  "evaluate",
  "config.ts",
  "report",
  "estimate",
  "run",
  "pipeline.ts",
  "dry_run.ts",
  "demo.ts",
  "workers",
  "index.ts",
  "ui",
  "cli",
];

/** Packages and Node modules that one place imports on behalf of all others. */
const SOLE_IMPORTERS = [
  {
    name: "onnxruntime",
    to: "node_modules/onnxruntime-",
    from: ["src/graph/runtime/onnx_runtime.ts", "src/graph/runtime/runtime.ts"],
  },
  { name: "onnx-protobuf", to: "node_modules/(onnx-buf|@bufbuild)/", from: ["src/graph/ir/onnx.ts"] },
  {
    name: "tokenizers",
    to: "node_modules/@huggingface/tokenizers/",
    from: ["src/model/tokenizer/engine.ts"],
  },
  { name: "plots", to: "node_modules/(vega|vega-lite|@resvg)/", from: ["src/report/pictures.ts"] },
  { name: "yaml", to: "node_modules/yaml/", from: ["src/io/files/yaml.ts"] },
  { name: "jinja", to: "node_modules/@huggingface/jinja/", from: ["src/jinja/library.ts"] },
  { name: "parquet", to: "node_modules/hyparquet", from: ["src/io/texts/parquet.ts"] },
  { name: "s3", to: "node_modules/aws4fetch/", from: ["src/io/store/s3_store.ts"] },
  { name: "commander", to: "node_modules/commander/", from: ["src/cli/"] },
  {
    name: "hono",
    to: "node_modules/(hono|@hono)/",
    from: ["src/ui/server.ts", "src/ui/guard.ts", "src/ui/answers.ts"],
  },
  {
    name: "bullmq",
    to: "node_modules/(bullmq|ioredis|redis|pg)/",
    from: ["src/workers/queue.ts", "src/workers/queue_server.ts"],
  },
  { name: "node-fs", to: "^(node:)?fs(/promises)?$", from: ["src/io/", "src/cli/"] },
];

const TEST = "[.]test[.]ts$";

/** Anchored pattern of a file, of the files right in a folder (`*.ts`), or, without an extension, of a folder's content. */
function pattern(place) {
  const escaped = place.replaceAll(".", "[.]").replace("*", "[^/]+");
  return place.endsWith(".ts") ? `^${escaped}$` : `^${escaped.replace(/[/]$/, "")}/`;
}

const layerPatterns = LAYERS.map((layer) => pattern(`src/${layer}`));

const layerRules = LAYERS.map((layer, index) => ({
  name: `layer-${layer}`,
  comment: `src/${layer} imports from ${LAYERS.slice(0, index).join(", ") || "nothing"} and itself`,
  severity: "error",
  from: { path: layerPatterns[index], pathNot: TEST },
  to: { path: "^src/", pathNot: layerPatterns.slice(0, index + 1) },
}));

const importerRules = SOLE_IMPORTERS.map(({ name, to, from }) => ({
  name: `only-importer-of-${name}`,
  comment: `only ${from.join(", ")} imports it`,
  severity: "error",
  from: { path: "^src/", pathNot: [...from.map(pattern), TEST] },
  to: { path: to },
}));

export default {
  forbidden: [
    ...layerRules,
    ...importerRules,
    {
      name: "known-layer",
      comment: "every file of src/ is in a folder that LAYERS lists",
      severity: "error",
      module: { path: "^src/", pathNot: [...layerPatterns, TEST], numberOfDependentsLessThan: 100 },
      from: {},
    },
    {
      name: "no-cycles",
      comment: "no cycles, type-only imports included",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "inside-src",
      comment: "what is shipped does not import tests, benchmarks, scripts, demo sources or the page",
      severity: "error",
      from: { path: "^src/", pathNot: TEST },
      to: { path: ["^(test|bench|scripts|demo|web)/", TEST] },
    },
    {
      name: "page",
      comment:
        "the page runs in a browser: it imports itself, preact, the types of what the server says, and how numbers are written",
      severity: "error",
      from: { path: "^web/", pathNot: ["[.]config[.]ts$", TEST] },
      to: { pathNot: ["^web/", "^src/(ui/api|report/format)[.]ts$", "node_modules/preact/", "^preact$"] },
    },
    {
      name: "read-by-page",
      comment: "what the page imports from src/ must run in a browser, and so imports nothing",
      severity: "error",
      from: { path: "^src/(ui/api|report/format)[.]ts$" },
      to: {},
    },
    {
      name: "shipped-dependencies",
      comment:
        "what is shipped imports only what package.json#dependencies lists, or what vite.config.ts bundles",
      severity: "error",
      from: { path: "^src/", pathNot: TEST },
      // package.ts reads the package's own package.json
      to: {
        dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown", "undetermined"],
        pathNot: "^package[.]json$|^node_modules/zod/",
      },
    },
    {
      name: "resolvable",
      comment: "every import resolves",
      severity: "error",
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["import", "node", "types", "default"],
      mainFields: ["module", "main", "types"],
    },
  },
};
