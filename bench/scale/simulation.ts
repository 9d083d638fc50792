/**
 * Simulates a run on a number of workers: units wait in a queue in order, and the run adds their results in order.
 */
import type { Phase } from "./cost_model.ts";

/** Simulated seconds of a run and of its phases. */
export interface Played {
  readonly seconds: number;
  readonly phases: readonly { readonly name: string; readonly seconds: number }[];
}

/** A single process that computes everything and transfers nothing. */
export function alone(phases: readonly Phase[]): Played {
  return sumOf(
    phases.map(({ name, before, chains }) => {
      const units = chains.flatMap((chain) => [...chain.units, chain.reduce]);
      return { name, seconds: units.reduce((sum, { compute }) => sum + compute, before.compute) };
    }),
  );
}

/** A run with workers; the run itself computes only what workers cannot. */
export function distributed(phases: readonly Phase[], workers: number): Played {
  return sumOf(phases.map((phase) => ({ name: phase.name, seconds: secondsOf(phase, workers) })));
}

function sumOf(phases: Played["phases"]): Played {
  return { phases, seconds: phases.reduce((sum, { seconds }) => sum + seconds, 0) };
}

function secondsOf({ before, first = 0, chains }: Phase, workers: number): number {
  const start = before.compute + before.move;
  const free = new Array<number>(workers).fill(start);
  const begun = new Set<number>();
  const ends = new Array<number>(chains.length).fill(start);
  // Units that can start, in the order in which they were queued.
  const ready = chains.map((_, chain) => ({ chain, unit: 0, since: start }));
  while (ready.length > 0) {
    const next = ready.shift()!;
    const worker = free.indexOf(Math.min(...free));
    const { compute, move } = chains[next.chain]!.units[next.unit]!;
    const once = begun.has(worker) ? 0 : first;
    begun.add(worker);
    const end = Math.max(free[worker]!, next.since) + once + compute + move;
    free[worker] = end;
    ends[next.chain] = end;
    if (next.unit + 1 === chains[next.chain]!.units.length) continue;
    const place = ready.findIndex(({ since }) => since > end);
    const following = { chain: next.chain, unit: next.unit + 1, since: end };
    ready.splice(place < 0 ? ready.length : place, 0, following);
  }
  let added = start;
  for (const [chain, { reduce }] of chains.entries()) {
    added = Math.max(added, ends[chain]!) + reduce.compute + reduce.move;
  }
  return added;
}
