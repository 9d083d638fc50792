/**
 * Measures the memory that the process allocates for an input. Typed arrays and buffers are counted when they are made,
 * so that a lying header is noticed even if the memory is never touched; everything else shows in the peak of the
 * resident set.
 */

/** Constructors that take a number of elements. */
const COUNTED = [
  "ArrayBuffer",
  "Uint8Array",
  "Int8Array",
  "Uint16Array",
  "Int16Array",
  "Uint32Array",
  "Int32Array",
  "Float32Array",
  "Float64Array",
  "BigUint64Array",
  "BigInt64Array",
] as const;

type Constructor = new (...parameters: unknown[]) => object;

/** Bytes allocated since the meter was started or reset. */
export interface Allocation {
  /** Typed arrays and buffers, freed ones included. */
  readonly arrays: number;
  /** Growth of the peak of the resident set. */
  readonly resident: number;
}

/** Counts allocations until it is stopped. Only one at a time, since it replaces global constructors. */
export class AllocationMeter {
  #arrays = 0;
  #peak = peakResident();
  readonly #originals = new Map<string, Constructor>();

  constructor() {
    const globals = globalThis as unknown as Record<string, Constructor>;
    for (const name of COUNTED) {
      const original = globals[name]!;
      this.#originals.set(name, original);
      globals[name] = new Proxy(original, {
        construct: (target, parameters: unknown[], newTarget) => {
          const [count] = parameters;
          const elementBytes = Reflect.get(target, "BYTES_PER_ELEMENT") ?? 1;
          if (typeof count === "number") this.#arrays += count * elementBytes;
          return Reflect.construct(target, parameters, newTarget === globals[name] ? target : newTarget);
        },
      });
    }
  }

  /** Starts at zero again. */
  reset(): void {
    this.#arrays = 0;
    this.#peak = peakResident();
  }

  get allocation(): Allocation {
    return { arrays: this.#arrays, resident: peakResident() - this.#peak };
  }

  /** Restores the constructors. */
  stop(): void {
    Object.assign(globalThis, Object.fromEntries(this.#originals));
  }
}

function peakResident(): number {
  return process.resourceUsage().maxRSS * 1024;
}
