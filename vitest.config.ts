import { defineConfig, type ViteUserConfig } from "vitest/config";

const config: ViteUserConfig = defineConfig({
  test: {
    include: [
      "src/**/*.test.ts",
      "test/**/*.test.ts",
      "demo/**/*.test.ts",
      "scripts/**/*.test.ts",
      "bench/**/*.test.ts",
      "web/**/*.test.ts",
    ],
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
