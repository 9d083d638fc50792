/**
 * The grounds of a plan, read from its provenance as far as possible: provenance has no fixed schema, older plans have
 * less of it, and people edit plans. Unreadable parts are left empty, and the report omits them.
 */
import { z } from "zod";
import type { RankProfile, SetAgreement, SpaceExplanation } from "../gprune/explanation.ts";
import type { Round } from "../gprune/learned.ts";
import type { WidthMove } from "../gprune/width_moves.ts";
import type { SpaceKind } from "../model/weights.ts";
import type { PruningPlan } from "../prune/plan.ts";

/** The grounds of a plan; missing parts are empty. */
export interface Explained {
  /** Names of the calibration sets in the order of ranks, profiles and agreements. */
  readonly setOrder: readonly string[];
  readonly spaces: readonly SpaceExplanation[];
  readonly agreement: SetAgreement;
  readonly profiles: readonly RankProfile[];
  readonly rounds: readonly Round[];
  /** Names of the sets in rounds. */
  readonly roundSets: readonly string[];
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
  roundSets: [],
  moves: [],
};

const groundsSchema: z.ZodType<Omit<Explained, "rounds" | "roundSets" | "moves">> = z.object({
  setOrder: z.array(z.string()),
  spaces: z.array(spaceSchema),
  agreement: z.object({ ffn: rows, kv: rows }),
  profiles: z.array(z.object({ space: z.string(), unit: number, kept: z.boolean(), ranks: numbers })),
});

/** The grounds in a plan's provenance, which orders sets by name, with sets in the order of `given`. */
export function explained(plan: PruningPlan | null, given: readonly string[]): Explained {
  const grounds = groundsSchema.safeParse(plan?.provenance);
  const rounds = z.array(roundSchema).safeParse(plan?.provenance.rounds);
  const moves = z.array(moveSchema).safeParse(plan?.provenance.moves);
  return {
    ...NOTHING,
    ...(grounds.success && reordered(grounds.data, given)),
    ...(rounds.success && {
      rounds: rounds.data,
      roundSets: inOrder(Object.keys(rounds.data[0]?.losses ?? {}), given),
    }),
    ...(moves.success && { moves: moves.data }),
  };
}

/** Names in the order of `given`, followed by those that are not in it. */
function inOrder(names: readonly string[], given: readonly string[]): readonly string[] {
  const place = (name: string): number => (given.includes(name) ? given.indexOf(name) : given.length);
  return names.toSorted((a, b) => place(a) - place(b));
}

function reordered<T extends Pick<Explained, "setOrder" | "agreement" | "profiles">>(
  grounds: T,
  given: readonly string[],
): T {
  const { setOrder, agreement, profiles } = grounds;
  const order = inOrder(setOrder, given);
  const from = order.map((name) => setOrder.indexOf(name));
  const moved = <V>(values: readonly V[]): readonly V[] =>
    values.length === from.length ? from.map((index) => values[index]!) : values;
  const square = (matrix: readonly (readonly number[])[]) => moved(matrix).map(moved);
  return {
    ...grounds,
    setOrder: order,
    agreement: { ffn: square(agreement.ffn), kv: square(agreement.kv) },
    profiles: profiles.map((profile) => ({ ...profile, ranks: moved(profile.ranks) })),
  };
}

/** Layer and kind of a space's id, `layers.3.ffn`. */
export function placeOf(space: string): { readonly layer: number; readonly kind: SpaceKind } {
  const [, layer, kind] = space.split(".");
  return { layer: Number(layer), kind: kind === "kv" ? "kv" : "ffn" };
}
