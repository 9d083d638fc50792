/**
 * Uniform: the same fraction of every layer, UL-UM of FLAP and the allocation of Wanda-sp.
 *
 * A layer gets the budget fraction * (its prunable parameters) plus whatever the layers before it left unspent. Of K
 * groups floor(fraction * K) are removed, then whole neurons as the budget lasts; further groups only when neurons run
 * out. So the total is exact to within one neuron, and two equal layers differ by at most one neuron. A layer that
 * cannot give its share (one group and one neuron stay) gives what it can, and the others share the remainder by size.
 *
 * Source: FLAP (arXiv 2312.11983) lib/prune.py `prune_wanda_sp` and structure UL-UM @3bb57db, which cut the
 * same fraction of heads and of neurons and so round twice.
 */
import { spacesOf, sumOverUnits } from "../model/spaces.ts";
import { type Allocation, type AllocationRequest, queuesOf, removalBudget, scoresOf } from "./allocation.ts";
import type { Keep } from "./plan.ts";
import { removeRanked } from "./ranked.ts";
import {
  blocksOf,
  capacity,
  type RankedSpace,
  RemovalLedger,
  type RemovalQueue,
  removalQueue,
  spendRest,
} from "./removal.ts";

export const uniform: Allocation = {
  name: "uniform",
  allocate(request: AllocationRequest): Keep {
    if (request.shape === "uniform") return removeRanked(quantiles(request), request);
    const scored = spacesOf(request.spec).map((space): RankedSpace => {
      return { space, values: sumOverUnits(scoresOf(request, space), space) };
    });
    const queues = queuesOf(scored, request);
    const budget = removalBudget(request, queues);
    const layers = layersOf(queues);
    const fractions = layerFractions(layers, budget);
    const ledger = new RemovalLedger(queues);
    for (const [index, layer] of layers.entries()) spendOnLayer(ledger, layer, fractions[index]!);
    spendRest(ledger, queues.flatMap(blocksOf));
    return ledger.keep();
  },
};

/**
 * Every unit's quantile in its space. For shape `uniform`, where all layers give alike and only the split between
 * attention and FFN is open: ranked by quantiles, both give the same fraction.
 */
function quantiles(request: AllocationRequest): readonly RankedSpace[] {
  return spacesOf(request.spec).map((space) => {
    const { order } = removalQueue(space, sumOverUnits(scoresOf(request, space), space), { roundTo: 1 });
    const values = new Float64Array(space.units);
    for (const [position, unit] of order.entries()) values[unit] = (position + 0.5) / space.units;
    return { space, values };
  });
}

/** The queues of one layer. */
interface LayerQueues {
  readonly queues: readonly RemovalQueue[];
  /** Parameters of the layer's spaces. */
  readonly parameters: number;
  /** Parameters that can be removed. */
  readonly removable: number;
}

function layersOf(queues: readonly RemovalQueue[]): readonly LayerQueues[] {
  const layers = [...new Set(queues.map(({ space }) => space.layer))];
  return layers.map((layer) => {
    const ofLayer = queues.filter(({ space }) => space.layer === layer);
    const parameters = ofLayer.reduce((sum, { space }) => sum + space.units * space.unitParameters, 0);
    const removable = ofLayer.reduce((sum, queue) => sum + capacity(queue), 0);
    return { queues: ofLayer, parameters, removable };
  });
}

/**
 * The fraction removed from every layer: the same for all but those that cannot reach it. Those give what they can, and
 * the others share the remaining budget, until all of the others can.
 */
function layerFractions(layers: readonly LayerQueues[], budget: number): readonly number[] {
  const full = new Set<LayerQueues>();
  for (;;) {
    const open = layers.filter((layer) => !full.has(layer));
    const given = [...full].reduce((sum, layer) => sum + layer.removable, 0);
    const parameters = open.reduce((sum, layer) => sum + layer.parameters, 0);
    const fraction = (budget - given) / parameters;
    const exhausted = open.filter((layer) => layer.removable < fraction * layer.parameters);
    if (exhausted.length === 0) {
      return layers.map((layer) => (full.has(layer) ? layer.removable / layer.parameters : fraction));
    }
    for (const layer of exhausted) full.add(layer);
  }
}

function spendOnLayer(ledger: RemovalLedger, { queues, parameters }: LayerQueues, fraction: number): void {
  ledger.grant(fraction * parameters);
  for (const queue of queues.filter(({ space }) => space.kind === "kv")) {
    // 1e-9: 0.29 * 100 is 28.999999999999996
    const groups = Math.min(queue.removableBlocks, Math.floor(fraction * queue.space.units + 1e-9));
    while (ledger.taken(queue) < groups && ledger.fits(queue)) ledger.take(queue);
  }
  spendRest(ledger, queues.flatMap(blocksOf));
}
