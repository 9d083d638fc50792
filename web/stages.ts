/** Stages as people count them: the rounds of one stage are one row. */
import type { LiveStage } from "../src/ui/api.ts";

export interface StageRow extends LiveStage {
  /** `3 of 8`; null for a stage without rounds. */
  readonly round: string | null;
}

const ROUND = /^(.*) (\d+)[/](\d+)$/;

/** @param stages - in the order they ran */
export function stageRows(stages: readonly LiveStage[]): readonly StageRow[] {
  const rows: StageRow[] = [];
  for (const stage of stages) {
    const [, base = stage.name, round, rounds] = ROUND.exec(stage.name) ?? [];
    const row = { ...stage, name: base, round: round === undefined ? null : `${round} of ${rounds}` };
    const last = rows.at(-1);
    if (round === undefined || last?.name !== base) {
      rows.push(withRounds(row, Number(round ?? 1), Number(rounds ?? 1)));
    } else {
      const whole = { ...row, seconds: row.seconds + last.seconds };
      rows[rows.length - 1] = withRounds(whole, Number(round), Number(rounds));
    }
  }
  return rows;
}

/** Progress over all rounds; the stage has ended with the last. */
function withRounds(row: StageRow, round: number, rounds: number): StageRow {
  if (rounds === 1) return row;
  const done = (round - 1) * row.total + row.done;
  return { ...row, done, total: rounds * row.total, ended: row.ended && round === rounds };
}
