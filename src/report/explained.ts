/**
 * What a plan says of its grounds, as far as it can be read: provenance is nobody's contract, older plans have less of it
 * and people edit them. What cannot be read is absent, and the report leaves out what it would have shown.
 */
import { z } from "zod";
import type { RankProfile, SetAgreement, SpaceExplanation } from "../gprune/explanation.ts";
import type { Round } from "../gprune/learned.ts";
import type { WidthMove } from "../gprune/width_moves.ts";
import type { PruningPlan } from "../prune/plan.ts";

/** The grounds of a plan; what is missing is empty. */
export interface Explained {
  /** Names of the calibration sets in the order of ranks, profiles and agreements. */
  readonly setOrder: readonly string[];
  readonly spaces: readonly SpaceExplanation[];
  readonly agreement: SetAgreement;
  readonly profiles: readonly RankProfile[];
  readonly rounds: readonly Round[];
  readonly moves: readonly WidthMove[];
}

const number = z.number();
const numbers = z.array(number);
const span = z.tuple([number, number]);
const rows = z.array(numbers);

const moduleSchema = z.object({
  size: number,
  meanSigma: number,
  sigmaRange: span,
  meanRank: number,
  rankRange: span,
  module: number,
  r: number.nullable(),
  perSet: z.array(
    z.object({
      set: z.string(),
      observed: number.nullable(),
      own: number,
      others: number.nullable(),
      corrected: number,
    }),
  ),
  splitHalf: number.nullable(),
  magnitude: number,
  verdict: z.enum(["activation", "fallback"]),
  reason: z.string(),
  kept: number,
  profile: numbers,
  consensus: number.optional(),
});

const spaceSchema: z.ZodType<SpaceExplanation> = z.object({
  space: z.string(),
  units: number,
  kendallW: number,
  meanSigma: number,
  sigmaQuantiles: z.object({ p10: number, p25: number, p50: number, p75: number, p90: number, max: number }),
  sigmaByRank: z.array(number.nullable()),
  sigmaHistogram: numbers,
  reason: z.string(),
  modules: z.array(moduleSchema),
});

const roundSchema: z.ZodType<Round> = z.object({
  sparsity: number,
  losses: z.record(z.string(), number),
  weights: z.record(z.string(), number),
});

const moveSchema: z.ZodType<WidthMove> = z.object({
  space: z.string(),
  from: number,
  to: number,
  exchanged: number.optional(),
  worth: number.optional(),
});

const NOTHING: Explained = {
  setOrder: [],
  spaces: [],
  agreement: { ffn: [], kv: [] },
  profiles: [],
  rounds: [],
  moves: [],
};

const groundsSchema: z.ZodType<Omit<Explained, "rounds" | "moves">> = z.object({
  setOrder: z.array(z.string()),
  spaces: z.array(spaceSchema),
  agreement: z.object({ ffn: rows, kv: rows }),
  profiles: z.array(z.object({ space: z.string(), unit: number, kept: z.boolean(), ranks: numbers })),
});

/** The grounds that a plan tells of. */
export function explained(plan: PruningPlan | null): Explained {
  const grounds = groundsSchema.safeParse(plan?.provenance);
  const rounds = z.array(roundSchema).safeParse(plan?.provenance.rounds);
  const moves = z.array(moveSchema).safeParse(plan?.provenance.moves);
  return {
    ...NOTHING,
    ...(grounds.success && grounds.data),
    ...(rounds.success && { rounds: rounds.data }),
    ...(moves.success && { moves: moves.data }),
  };
}

/** Layer and kind of a space's id, `layers.3.ffn`. */
export function placeOf(space: string): { readonly layer: number; readonly kind: "ffn" | "kv" } {
  const [, layer, kind] = space.split(".");
  return { layer: Number(layer), kind: kind === "kv" ? "kv" : "ffn" };
}
