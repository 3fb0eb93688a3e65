/** What is said of an answer below it: numbers and words. Pure. */

const REASONS = {
  incomplete: "cut short",
  cancelled: "stopped",
  superseded: "replaced by a newer prompt",
  budget: "stopped at the token budget",
  rejected: "refused",
  expired: "came too late",
  error: "failed",
};

const CAUSES = {
  crash: "after a worker died",
  handler_error: "after an internal error",
  append_lost: "after a write to the log was lost",
  handover: "after a worker was stopped",
  failover: "at another provider, after one failed",
  watchdog: "at another provider, after one stalled",
  retry: "after a pause, as no provider could answer",
};

/**
 * @param {import("./conversation.js").Entry} entry an ended one
 * @returns {{name: string, text: string, title: string}[]} in the order to be shown
 */
export function turnFacts(entry) {
  const facts = [];
  const add = (name, text, title) => text && facts.push({ name, text, title });
  if (entry.reason !== "complete") add("reason", REASONS[entry.reason] ?? entry.reason, "How the turn ended");
  if (entry.ttftMs !== null) add("ttft", `${duration(entry.ttftMs)} to first token`, "From sending to the first text in this page");
  add("rate", rateText(entry), rateTitle(entry));
  add("usage", usageText(entry.usage), usageTitle(entry.usage));
  if (entry.usage?.output_tokens || entry.costNanoUsd) add("cost", dollars(entry.costNanoUsd), "What the turn's last attempt cost");
  add("model", entry.model, "Model");
  if (entry.attempt > 1) add("attempt", attemptText(entry), "Text of the attempts before it is void and was removed");
  if (entry.historyCut) add("history", `${entry.historyCut} oldest messages left out`, "The conversation did not fit the model's context");
  return facts;
}

/** "answered on attempt 2 after a worker died" */
export function attemptText({ attempt, cause, status }) {
  const verb = status === "running" ? "now on" : "answered on";
  return `${verb} attempt ${attempt}${CAUSES[cause] ? ` ${CAUSES[cause]}` : ""}`;
}

/** Output tokens per second: between first and last text where all of it was seen live, else by the log's clock. */
export function tokensPerSecond({ usage, pace, startedAtUs, endedAtUs }) {
  const tokens = usage?.output_tokens ?? 0;
  if (tokens < 2) return null;
  const seenMs = pace.lastAtMs - pace.firstAtMs;
  if (pace.whole && seenMs > 0) return ((tokens - 1) * 1000) / seenMs;
  const loggedUs = startedAtUs && endedAtUs ? endedAtUs - startedAtUs : 0;
  return loggedUs > 0 ? (tokens * 1e6) / loggedUs : null;
}

/** Dollars with as many digits as it takes to see something. */
export function dollars(nanoUsd) {
  const usd = nanoUsd / 1e9;
  if (usd === 0) return "$0";
  if (usd >= 0.1) return `$${usd.toFixed(2)}`;
  return `$${usd.toFixed(Math.min(9, 1 - Math.floor(Math.log10(usd)))).replace(/0+$/, "")}`;
}

/** "84 ms", "1.4 s", "2 min 5 s" */
export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
  return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

function rateText(entry) {
  const rate = tokensPerSecond(entry);
  if (rate === null) return "";
  return `${rate < 10 ? rate.toFixed(1) : Math.round(rate)} tokens/s`;
}

function rateTitle({ pace }) {
  return pace.whole ? "Between the first and the last text seen in this page" : "Over the whole attempt, by the log's clock";
}

function usageText(usage) {
  if (!usage || !(usage.input_tokens || usage.output_tokens)) return "";
  const count = (tokens) => (tokens ?? 0).toLocaleString("en-US");
  return `${usage.estimated ? "≈ " : ""}${count(usage.input_tokens)} in, ${count(usage.output_tokens)} out`;
}

function usageTitle(usage) {
  const parts = ["Tokens"];
  if (usage?.cached_tokens) parts.push(`${usage.cached_tokens} of the input cached`);
  if (usage?.reasoning_tokens) parts.push(`${usage.reasoning_tokens} of the output for reasoning`);
  if (usage?.estimated) parts.push("counted by us: the provider reported nothing");
  return parts.join("; ");
}
