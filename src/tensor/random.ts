/**
 * Seeded random streams, the only source of randomness in the project. A stream belongs to a seed and a label, so
 * streams are independent of each other and of the order in which they are drawn from.
 */
import { uniformFloat64 } from "pure-rand/distribution/uniformFloat64";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";

/** @returns a function that gives the next number, uniform in [0, 1) with 53 bits */
export function randomStream(seed: number, label: string): () => number {
  const generator = xoroshiro128plus(hash(`${seed}/${label}`));
  return () => uniformFloat64(generator);
}

/**
 * 32-bit hash of a text: FNV-1a, then the finaliser of MurmurHash3. Without the finaliser labels that differ in
 * their last character get neighbouring seeds, and xoroshiro128+ starts alike on neighbouring seeds.
 */
function hash(text: string): number {
  let state = 0x811c9dc5; // FNV offset basis
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 0x01000193); // FNV prime
  state = Math.imul(state ^ (state >>> 16), 0x85ebca6b);
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
  return state ^ (state >>> 16);
}
