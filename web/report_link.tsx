/** Link to a run's report, which opens in a new tab. */

interface ReportLinkProps {
  readonly id: string;
  readonly text: string;
  readonly isPrimary?: boolean;
}

export function ReportLink({ id, text, isPrimary = false }: ReportLinkProps) {
  return (
    <a
      class={isPrimary ? "action primary" : "action"}
      href={`/runs/report?${new URLSearchParams({ run: id })}`}
      target="_blank"
      rel="noopener"
    >
      {text}
      <span class="unseen"> of {id} in a new tab</span>
    </a>
  );
}
