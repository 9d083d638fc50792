import { defineConfig, type TestProjectConfiguration, type ViteUserConfig } from "vitest/config";

/** Tests of what a process shares: files, clocks, signals, environment, memory. Each file gets a process of its own. */
const OF_PROCESSES = [
  "src/{cli,io,ui,workers,graph/runtime}/**/*.test.ts",
  "src/config.test.ts",
  "src/evaluate/peak_memory.test.ts",
];

/** All other tests of sources share two processes, which saves the start of one for each file and its imports. */
const projects: TestProjectConfiguration[] = [
  {
    extends: true,
    test: { name: "together", isolate: false, include: ["src/**/*.test.ts"], exclude: OF_PROCESSES },
  },
  {
    extends: true,
    test: { name: "apart", include: [...OF_PROCESSES, "{test,demo,scripts,bench,web}/**/*.test.ts"] },
  },
];

const config: ViteUserConfig = defineConfig({
  test: {
    projects,
    globalSetup: ["test/compile.ts"],
    setupFiles: ["test/setup.ts"],
    // ONNX Runtime is native: ending a worker thread while a session runs aborts the whole process.
    pool: "forks",
    maxWorkers: 2,
    testTimeout: 180_000,
    hookTimeout: 180_000,
    teardownTimeout: 180_000,
    allowOnly: false,
    reporters: ["default"],
  },
});

export default config;
