/**
 * Token sequences merged by their common prefixes: every distinct prefix is one node, so one pass over the nodes
 * computes all sequences and no token twice. A token attends only to its predecessors, and its depth is its position
 * (tree attention as in SpecInfer, arXiv 2305.09781); positions.ts has the mask.
 */

/** The nodes of a forest, predecessors first. */
export interface TokenForest {
  /** Token ids, [T]. */
  readonly ids: Int32Array;
  /** Index of the token before each one, [T]; -1 where a sequence begins. */
  readonly parents: Int32Array;
}

/**
 * Largest number of nodes of a forest that is not a single sequence, since attention scores all pairs of them. Longer
 * sequences run by themselves, in blocks of queries (`embedForests`).
 */
export const MAX_FOREST_TOKENS = 4096;

/** Number of predecessors of every node, [T]: the position of its token. */
export function depths(parents: Int32Array): Int32Array {
  const depth = new Int32Array(parents.length);
  for (const [node, parent] of parents.entries()) if (parent >= 0) depth[node] = depth[parent]! + 1;
  return depth;
}

/** The parents of several forests of equal size, which stand one after another. */
export function parentsByForest(parents: Int32Array, forests: number): readonly Int32Array[] {
  const size = parents.length / forests;
  return Array.from({ length: forests }, (_, f) => parents.subarray(f * size, (f + 1) * size));
}

/** The nodes from a root to every leaf, for each leaf. */
export function pathsOf(parents: Int32Array): readonly Int32Array[] {
  const inner = new Set(parents);
  const depth = depths(parents);
  return [...parents.keys()].flatMap((leaf) => {
    if (inner.has(leaf)) return [];
    const path = new Int32Array(depth[leaf]! + 1);
    for (let node = leaf, place = depth[leaf]!; place >= 0; node = parents[node]!, place--)
      path[place] = node;
    return [path];
  });
}

/** A forest that grows by sequences. */
export class PrefixForest {
  readonly #ids: number[] = [];
  readonly #parents: number[] = [];
  readonly #roots = new Map<number, number>();
  /** Children of every node, by their token ids. */
  readonly #children: Map<number, number>[] = [];

  /** Number of nodes. */
  get size(): number {
    return this.#ids.length;
  }

  /** Whether all sequences are prefixes of one. */
  get isSequence(): boolean {
    return this.#parents.every((parent, node) => parent === node - 1);
  }

  /** Length of the longest prefix of a sequence that is in the forest. */
  shared(ids: Int32Array): number {
    let next = this.#roots;
    for (const [place, id] of ids.entries()) {
      const node = next.get(id);
      if (node === undefined) return place;
      next = this.#children[node]!;
    }
    return ids.length;
  }

  /** Adds the missing nodes of a sequence. @returns the nodes of its tokens */
  add(ids: Int32Array): Int32Array {
    let last = -1;
    return ids.map((id) => {
      const next = last === -1 ? this.#roots : this.#children[last]!;
      last = next.get(id) ?? this.#append(id, { parent: last, siblings: next });
      return last;
    });
  }

  finish(): TokenForest {
    return { ids: Int32Array.from(this.#ids), parents: Int32Array.from(this.#parents) };
  }

  #append(
    id: number,
    { parent, siblings }: { readonly parent: number; readonly siblings: Map<number, number> },
  ): number {
    const node = this.#ids.push(id) - 1;
    this.#parents.push(parent);
    this.#children.push(new Map());
    siblings.set(id, node);
    return node;
  }
}
