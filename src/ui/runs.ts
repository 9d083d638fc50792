/** The runs that a server shows, starts, stops and resumes. One runs at a time, since it uses the whole machine. */
import { join } from "node:path";
import { z } from "zod";
import { badArgument } from "../base/arguments.ts";
import { RUN_FILES } from "../base/file_names.ts";
import { versions } from "../base/package.ts";
import { plainName, plainText } from "../base/plain_text.ts";
import { type RunConfig, resolveRunConfig } from "../config.ts";
import { GpruneError, reasonOf } from "../errors.ts";
import { kindOfPath, readSmallText } from "../io/files/file.ts";
import { fileInside } from "../io/files/inside.ts";
import { renderComparison } from "../report/comparison.ts";
import { renderReport } from "../report/report.ts";
import { readRun } from "../report/run_files.ts";
import {
  MAX_COMPARED,
  type Problem,
  type ResumeRequest,
  type RunSummary,
  type Settings,
  type StartRequest,
  type UiState,
} from "./api.ts";
import { askedSettings } from "./asked_settings.ts";
import { checked, requireStartable, wrongFields } from "./form_check.ts";
import { LiveRunRecorder } from "./live_run.ts";
import { type KnownRuns, listRuns } from "./run_list.ts";
import type { RunHandle, StartRun } from "./start_run.ts";

/** A directory name of letters, digits, dots, dashes and underscores that does not end with a dot or .run. */
const NAME = /^(?!.*\.(?:run)?$)[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/i;
/** What stands for a device on Windows, with any ending. */
const DEVICE = /^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)/i;
const MAX_REPORT_BYTES = 2 ** 27;
/** Milliseconds after which the list of runs is renewed. */
const LIST_AGE = 3000;
/** Most runs that are sent to the page. */
const MAX_RUNS = 500;

const startSchema: z.ZodType<StartRequest> = z.strictObject({
  name: z
    .string()
    .regex(NAME, "expected letters, digits, dots, dashes and underscores, not ending in a dot or .run")
    .refine((name) => !DEVICE.test(name), "expected a name that Windows takes, too, got that of a device"),
  settings: z.record(z.string(), z.unknown()),
});
const resumeSchema: z.ZodType<ResumeRequest> = z.strictObject({ id: z.string() });

/** All runs of a directory, and the one that was started last. */
export class Runs {
  readonly #directory: string;
  readonly #start: StartRun;
  readonly #listeners = new Set<() => void>();
  #live: LiveRunRecorder | null = null;
  #handle: RunHandle | null = null;
  /** The list and when it expires; `until` is 0 when it is known to be outdated. */
  #list: { readonly runs: readonly RunSummary[]; readonly until: number } = { runs: [], until: 0 };
  readonly #known: KnownRuns = new Map();
  /** Runs of the list as the page gets them, with reduced settings. */
  readonly #shown = new WeakMap<RunSummary, RunSummary>();

  constructor(directory: string, start: StartRun) {
    this.#directory = directory;
    this.#start = start;
  }

  /** Calls `listener` when the current run or the list has changed. @returns a function that removes it */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async state(): Promise<UiState> {
    const live = this.#live?.snapshot() ?? null;
    const isActive = this.#live !== null && !this.#live.isOver;
    const all = (await this.#recentList()).filter(
      ({ id, state }) => !(isActive && id === live?.id && state !== "finished"),
    );
    const runs = all.slice(0, MAX_RUNS).map((run) => this.#asShown(run));
    return {
      version: versions().gprune,
      directory: this.#directory,
      workingDirectory: process.cwd(),
      runs,
      total: all.length,
      live,
    };
  }

  /** Starts a run. @throws GpruneError BAD_CONFIG, BAD_ARGUMENT naming wrong fields, LOCKED during another run */
  async start(request: unknown): Promise<void> {
    const { name, settings } = checked(startSchema, request);
    const { output: _, ...asked } = settings;
    this.#requireIdle();
    await requireStartable(this.#directory, name, this.#configOf(name, asked, "form"));
    this.#launch(name, asked, { where: "form", resume: false });
  }

  /** Resumes an unfinished run. @throws GpruneError NOT_FOUND, BAD_CONFIG, LOCKED during another run */
  async resume(request: unknown): Promise<void> {
    const { id } = checked(resumeSchema, request);
    const { settings } = await this.#find(id, "unfinished");
    this.#launch(id, settings ?? {}, { where: `${id}.run`, resume: true });
  }

  /** Asks the current run to stop; the second call kills it. @throws GpruneError NOT_FOUND when there is none */
  stop(): void {
    if (this.#handle === null)
      throw new GpruneError("NOT_FOUND", "stop: expected a run in progress, got none");
    this.#live!.stopping();
    this.#handle.stop();
  }

  /** Stops the current run and waits until it has ended. */
  async close(): Promise<void> {
    const handle = this.#handle;
    if (handle === null) return;
    if (!this.#live!.isStopping) this.stop();
    await handle.ending;
  }

  /** HTML report of a run, rendered when the output has none. @throws GpruneError NOT_FOUND */
  async report(id: string): Promise<string> {
    await this.#find(id, "finished");
    const path = join(this.#directory, id);
    const file = await fileInside(path, RUN_FILES.report);
    if ((await kindOfPath(file)) === "file") return readSmallText(file, MAX_REPORT_BYTES);
    return renderReport(await readRun(path));
  }

  /** HTML page that compares runs. @throws GpruneError NOT_FOUND, BAD_ARGUMENT */
  async comparison(ids: readonly string[]): Promise<string> {
    if (ids.length < 2 || ids.length > MAX_COMPARED) {
      throw badArgument("compare", `2 to ${MAX_COMPARED} runs`, ids.length);
    }
    for (const id of ids) await this.#find(id, "finished");
    return renderComparison(await Promise.all(ids.map((id) => readRun(join(this.#directory, id)))));
  }

  /** A run of the list by id, so that no other path can be reached. @throws GpruneError NOT_FOUND */
  async #find(id: string, state: RunSummary["state"]): Promise<RunSummary> {
    const found = (await listRuns(this.#directory, this.#known)).find(
      (run) => run.id === id && run.state === state,
    );
    if (found === undefined)
      throw new GpruneError(
        "NOT_FOUND",
        `run: expected the name of a run that is ${state}, got ${plainName(id)}`,
      );
    return found;
  }

  /** The list of runs. An outdated one is renewed first, an expired one in the background. */
  async #recentList(): Promise<readonly RunSummary[]> {
    const { until } = this.#list;
    if (until === 0) await this.#renewList();
    // If that fails, the next request waits for another attempt and gets its error.
    else if (performance.now() >= until) void this.#renewList().catch(() => this.#outdate());
    return this.#list.runs;
  }

  async #renewList(): Promise<void> {
    // Until it is ready, requests get the previous list, unless a change outdates that.
    this.#list = { ...this.#list, until: performance.now() + LIST_AGE };
    const runs = await listRuns(this.#directory, this.#known);
    this.#list = { ...this.#list, runs };
    this.#changed();
  }

  #outdate(): void {
    this.#list = { ...this.#list, until: 0 };
  }

  #asShown(run: RunSummary): RunSummary {
    const shown = this.#shown.get(run) ?? shownOf(run);
    this.#shown.set(run, shown);
    return shown;
  }

  /** Starts the process of a run. @param how - `where`: the source of the settings, for messages */
  #launch(
    id: string,
    settings: Settings,
    { where, resume }: { readonly where: string; readonly resume: boolean },
  ): void {
    const config = this.#configOf(id, settings, where);
    // Another run may have started while the form was checked.
    this.#requireIdle();
    const live = new LiveRunRecorder(
      { id, base: plainText(config.model), settings: resume ? askedSettings(settings) : settings },
      { onChange: () => this.#changed(), before: resume ? this.#live : null },
    );
    const handle = this.#start({ config, resume }, live);
    this.#live = live;
    this.#handle = handle;
    this.#outdate();
    void handle.ending.then((ending) => {
      this.#handle = null;
      this.#outdate();
      live.end(ending.state, ending.state === "failed" ? ending.problem : null);
    });
    this.#changed();
  }

  #requireIdle(): void {
    if (this.#handle === null) return;
    const hint = "Wait for it or stop it; a stopped run can be resumed.";
    const name = plainName(this.#live!.id);
    throw new GpruneError("LOCKED", `start: expected no run in progress, got ${name}`, { hint });
  }

  #configOf(id: string, settings: Settings, where: string): RunConfig {
    return resolveRunConfig({ ...settings, output: join(this.#directory, id) }, where);
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** A run as the page shows it: settings without defaults, and harmless text in place of what files say. */
function shownOf({ base, how, outcome, settings, note, ...run }: RunSummary): RunSummary {
  const perplexity = outcome?.perplexity ?? null;
  return {
    ...run,
    base: plainText(base),
    how: plainText(how),
    outcome: outcome && {
      ...outcome,
      perplexity: perplexity && { ...perplexity, on: plainText(perplexity.on) },
    },
    settings: settings && askedSettings(settings),
    note: note && plainText(note),
  };
}

/** An error as the page shows it. */
export function problemOf(error: unknown): Problem {
  if (error instanceof GpruneError) {
    const fields = wrongFields(error);
    return { hint: null, ...error.plain, ...(fields !== undefined && { fields }) };
  }
  return { code: "INTERNAL", message: reasonOf(error), hint: null };
}
