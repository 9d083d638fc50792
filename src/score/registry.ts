/**
 * Every importance metric. To add one: a file beside this one, a row here, a case in metrics.test.ts.
 */

import { meantHint } from "../base/similar.ts";
import { GpruneError, requireWord } from "../errors.ts";
import { fisher } from "./fisher.ts";
import { flapIfv } from "./flap_ifv.ts";
import { flapWifn } from "./flap_wifn.ts";
import { flapWifv } from "./flap_wifv.ts";
import { magnitude } from "./magnitude.ts";
import { maw } from "./maw.ts";
import type { Metric } from "./metric.ts";
import { minitron } from "./minitron.ts";
import { pon } from "./pon.ts";
import { random } from "./random.ts";
import { taylor } from "./taylor.ts";
import { wandaSp } from "./wanda_sp.ts";

/** In the order of `--help`: activation metrics first, then gradients, then the weights alone. */
export const METRICS: readonly Metric[] = [
  flapWifv,
  flapIfv,
  flapWifn,
  wandaSp,
  minitron,
  fisher,
  taylor,
  magnitude,
  pon,
  maw,
  random,
];

/**
 * The metric of a name; case, hyphens, underscores, spaces and the prefix `flap-` do not matter, so that `wifv` is
 * `flap-wifv`.
 * @param where - the option or field that has the name, for messages
 * @throws GpruneError BAD_ARGUMENT for an unknown name, listing the known ones
 */
export function metricByName(name: string, where: string = "metric"): Metric {
  requireWord(name, where);
  const metric = METRICS.find((candidate) => simplified(candidate.name) === simplified(name));
  if (metric !== undefined) return metric;
  const names = METRICS.map((candidate) => candidate.name);
  throw new GpruneError("BAD_ARGUMENT", `${where}: expected one of ${names.join(", ")}, got "${name}"`, {
    hint: meantHint(name, names),
  });
}

/** `FLAP_WIFV`, `flap-wifv` and `wifv` are one name to a reader. */
function simplified(name: string): string {
  return name
    .toLowerCase()
    .replaceAll(/[-_\s]/g, "")
    .replace(/^flap/, "");
}
