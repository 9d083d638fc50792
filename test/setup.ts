/**
 * Fails tests that write to the console, which the library never does. A call throws where it happens; if the code
 * under test catches that, the test fails at its end.
 */
import { afterAll, afterEach } from "vitest";
import "./equality.ts";

const METHODS = ["debug", "dir", "error", "info", "log", "table", "trace", "warn"] as const;

let calls: string[] = [];

for (const method of METHODS) {
  globalThis.console[method] = (...values: unknown[]): never => {
    const call = `console.${method}(${values.map(String).join(", ")})`;
    calls.push(call);
    throw new Error(`expected no console calls, got ${call}`);
  };
}

function failOnCalls(): void {
  const made = calls;
  calls = [];
  if (made.length > 0) {
    throw new Error(`expected no console calls, got ${made.join("; ")}`);
  }
}

afterEach(failOnCalls);
afterAll(failOnCalls);
