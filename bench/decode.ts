/**
 * How fast stored weights become float32, for every type that is read, beside a copy of as many float32: one core.
 *
 *   node --import tsx bench/decode.ts
 */
import { GGML_TYPES } from "../src/io/ggml_types.ts";

/** Weights of a turn: 8 projections of SmolLM2-135M's FFN, more than caches hold. */
const WEIGHTS = 8 * 576 * 1536;
/** Turns, of which the fastest counts. */
const TURNS = 9;

const target = new Float32Array(WEIGHTS);
const source = new Float32Array(WEIGHTS);
const rows: [string, number][] = [["copy", rate(() => target.set(source))]];
for (const { name, blockSize, blockBytes, dequantize } of GGML_TYPES.values()) {
  if (dequantize === null || /^[FI]64$|^I/.test(name)) continue;
  const bytes = new Uint8Array((WEIGHTS / blockSize) * blockBytes).map((_, i) => (i * 7919) & 127);
  rows.push([name, rate(() => dequantize(bytes, target))]);
}
for (const [name, perSecond] of rows) {
  const giga = `${((4 * perSecond) / 1e9).toFixed(1)} GB/s of float32`;
  console.log(`${name.padEnd(5)} ${(perSecond / 1e6).toFixed(0).padStart(5)} million weights/s  ${giga}`);
}

/** Weights a second. */
function rate(run: () => void): number {
  let fastest = Number.POSITIVE_INFINITY;
  for (let turn = 0; turn < TURNS; turn++) {
    const start = performance.now();
    run();
    fastest = Math.min(fastest, performance.now() - start);
  }
  return (1000 * WEIGHTS) / fastest;
}
