/** Records the events of a run in progress, and makes snapshots for the page. */
import { plainText } from "../base/plain_text.ts";
import type { NamedValue, ProgressEvent } from "../base/progress.ts";
import type { LiveCurve, LiveRun, LiveStage, LiveState, Problem, Settings } from "./api.ts";
import type { RunListener } from "./start_run.ts";

/** Lines of output that are kept. */
const LOG_LINES = 200;
/** Points of a curve above which it is thinned. */
const MAX_POINTS = 400;

/** `learn 3/8` is a round of the stage `learn`. */
const ROUND = /^(.*) (\d+)[/]\d+$/;

/** A stage with its first and last time, by `performance.now()`. */
interface Stage extends Omit<LiveStage, "seconds"> {
  readonly start: number;
  readonly end: number;
}

/** A curve that keeps the first of every `every` points, and the last one. */
interface Curve extends LiveCurve {
  readonly every: number;
}

/** Recorder of one run; calls `onChange` after every change. */
export class LiveRunRecorder implements RunListener {
  readonly id: string;
  readonly #base: string;
  readonly #settings: Settings;
  readonly #onChange: () => void;
  readonly #start = performance.now();
  #end: number | null = null;
  #state: LiveState = "running";
  #stages: readonly Stage[] = [];
  #memory: LiveRun["memory"] = null;
  #curves: readonly Curve[] = [];
  #log: readonly string[] = [];
  #failure: Problem | null = null;

  /** @param before - recorder of the previous run, whose curves are continued if this run resumes it */
  constructor(
    { id, base, settings }: Pick<LiveRun, "id" | "base" | "settings">,
    { onChange, before = null }: { readonly onChange: () => void; readonly before?: LiveRunRecorder | null },
  ) {
    this.id = id;
    this.#base = base;
    this.#settings = settings;
    this.#onChange = onChange;
    if (before?.id === id) this.#curves = before.#curves;
  }

  get isOver(): boolean {
    return this.#end !== null;
  }

  get isStopping(): boolean {
    return this.#state === "stopping";
  }

  onProgress({ stage: name, done, total, unit, detail, values = [] }: ProgressEvent): void {
    const now = performance.now();
    const ended = done >= total;
    const last = this.#stages.at(-1);
    // A stage that continues after another one interrupted it gets an entry of its own, as in the terminal.
    const isSame = last?.name === name && (!last.ended || ended);
    const { start, begun } = isSame ? last : { start: now, begun: done };
    const stage: Stage = { name, begun, done, total, unit, detail: detail ?? null, ended, start, end: now };
    const before = (isSame ? this.#stages.slice(0, -1) : this.#stages).map((s) => ({ ...s, ended: true }));
    this.#stages = [...before, stage];
    const [, base = name, round] = ROUND.exec(name) ?? [];
    for (const value of values) this.#add({ stage: base, step: Number(round ?? done) }, value);
    this.#onChange();
  }

  onMemory(rss: number): void {
    this.#memory = { now: rss, peak: Math.max(rss, this.#memory?.peak ?? 0) };
    this.#onChange();
  }

  onText(text: string): void {
    const lines = text.split("\n").filter((line) => line.trim() !== "");
    this.#log = [...this.#log, ...lines].slice(-LOG_LINES);
    this.#onChange();
  }

  /** Notes that the run was told to stop. */
  stopping(): void {
    this.#state = "stopping";
    this.#onChange();
  }

  /** Notes that the run is over. */
  end(state: LiveState, failure: Problem | null = null): void {
    this.#state = state;
    this.#failure = failure;
    this.#end = performance.now();
    this.#stages = this.#stages.map((stage, index, all) =>
      index < all.length - 1 || state === "finished" ? { ...stage, ended: true } : stage,
    );
    this.#onChange();
  }

  snapshot(): LiveRun {
    const now = this.#end ?? performance.now();
    const seconds = ({ start, end, ended }: Stage): number => ((ended ? end : now) - start) / 1000;
    return {
      id: this.id,
      name: plainText(this.id),
      base: this.#base,
      settings: this.#settings,
      state: this.#state,
      elapsed: now - this.#start,
      stages: this.#stages.map((stage) => {
        const { start: _start, end: _end, ...rest } = stage;
        return { ...rest, seconds: seconds(stage) };
      }),
      memory: this.#memory,
      curves: this.#curves.map(({ stage, name, points }) => ({ stage, name, points })),
      log: this.#log,
      failure: this.#failure,
    };
  }

  #add(
    { stage, step }: { readonly stage: string; readonly step: number },
    { name, value }: NamedValue,
  ): void {
    const isIt = (curve: LiveCurve): boolean => curve.stage === stage && curve.name === name;
    const old = this.#curves.find(isIt);
    const curve = withPoint(old ?? { stage, name, points: [], every: 1 }, [step, value]);
    this.#curves = old
      ? this.#curves.map((other) => (other === old ? curve : other))
      : [...this.#curves, curve];
  }
}

/**
 * A curve with its next point. A curve with too many points is thinned to every second one. Points that a resumed run
 * computes again replace the earlier ones.
 */
function withPoint({ points: all, every, ...curve }: Curve, point: LiveCurve["points"][number]): Curve {
  const points = all.filter(([before]) => before < point[0]);
  const sparser = points.length > MAX_POINTS ? 2 * every : every;
  const kept = points.filter(([before]) => (before - 1) % sparser === 0);
  return { ...curve, every: sparser, points: [...kept, point] };
}
