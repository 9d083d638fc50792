/**
 * Fails tests that write to the console, which the library never does. A call throws where it happens; if the code
 * under test catches that, the test fails at its end. And compares tensors' data by its bytes first.
 */
import { afterAll, afterEach, expect } from "vitest";

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

/**
 * Typed arrays with the same bytes are equal, which takes a thousandth of the time of comparing them by element.
 * Others are left to vitest, whose message says where they differ.
 */
function haveSameBytes(a: unknown, b: unknown): true | undefined {
  if (!ArrayBuffer.isView(a) || !ArrayBuffer.isView(b) || a.constructor !== b.constructor) return undefined;
  return bytesOf(a).equals(bytesOf(b)) || undefined;
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

expect.addEqualityTesters([haveSameBytes]);
