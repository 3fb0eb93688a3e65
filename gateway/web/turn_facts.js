/** What is said of an answer below it: numbers and words. Pure. */

const REASONS = {
  incomplete: "cut short",
  cancelled: "stopped",
  superseded: "superseded by a newer prompt",
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
  hedge: "at a second provider, which spoke first",
};

/**
 * @param {import("./conversation.js").Entry} entry an ended one
 * @returns {{name: string, text: string, title: string}[]} in the order to be shown
 */
export function turnFacts(entry) {
  const facts = [];
  const add = (name, text, title) => text && facts.push({ name, text, title });
  if (entry.reason !== "complete") add("reason", REASONS[entry.reason] ?? entry.reason, "How the turn ended");
  facts.push(...liveFacts(entry));
  if (entry.cached) add("cached", "from the cache", "The answer was there already: nobody was asked and it costs nothing");
  add("rate", rateText(entry), rateTitle(entry));
  add("usage", usageText(entry.usage), usageTitle(entry.usage));
  if (entry.usage?.output_tokens || entry.costNanoUsd || entry.cached) add("cost", dollars(entry.costNanoUsd), entry.spans.length > 1 ? "What the last attempt cost" : "What the answer's last attempt cost");
  if (entry.spans.length > 1) add("spans", spansText(entry), spansTitle(entry));
  else add("model", entry.model, entry.spans[0]?.provider ? `Model, at ${entry.spans[0].provider}` : "Model");
  if (entry.attempt > 1) add("attempt", attemptText(entry), attemptTitle(entry));
  if (entry.historyCut) add("history", `${entry.historyCut} oldest messages left out`, "The conversation did not fit the model's context");
  return facts;
}

/**
 * What is known of an answer while it is written.
 * @returns {{name: string, text: string, title: string}[]}
 */
export function liveFacts({ ttftMs, sentAtMs }) {
  if (ttftMs === null) return [];
  const title = sentAtMs === null ? "From taking the prompt in to the first text, by the log's clock" : "From sending to the first text in this page";
  return [{ name: "ttft", text: `${duration(ttftMs)} to first token`, title }];
}

/** "answered on attempt 2 after a worker died" */
export function attemptText({ attempt, cause, status }) {
  const verb = status === "running" ? "now on" : "answered on";
  return `${verb} attempt ${attempt}${CAUSES[cause] ? ` ${CAUSES[cause]}` : ""}`;
}

/** "Goes on: now on attempt 2 at another provider, after one failed" */
export function switchText(entry) {
  return `${entry.spans.length > 1 ? "Goes on" : "Begun anew"}: ${attemptText(entry)}`;
}

function attemptTitle({ spans }) {
  if (spans.length > 1) return "The text before it stands, and it went on from there";
  return "Text of the attempts before it is void and was removed";
}

/** Who wrote the text, part by part: "north/m1 (40 %), south/m2" */
function spansText({ spans, text }) {
  const parts = spans.map((span, index) => ({ name: nameOf(span), chars: (spans[index + 1]?.startsAt ?? text.length) - span.startsAt }));
  return parts.map(({ name, chars }) => `${name} ${Math.round((100 * chars) / Math.max(1, text.length))} %`).join(" → ");
}

function spansTitle({ spans, text }) {
  const parts = spans.map((span, index) => {
    const end = spans[index + 1]?.startsAt ?? text.length;
    return `attempt ${span.attempt}: characters ${span.startsAt + 1} to ${end} by ${nameOf(span)}`;
  });
  return `Who wrote it: ${parts.join("; ")}`;
}

function nameOf({ provider, model }) {
  return [provider, model].filter(Boolean).join("/") || "?";
}

/**
 * What a comparison that is over came to in all.
 * @param {import("./arrangement.js").Exchange} exchange
 */
export function comparisonFacts({ entries }) {
  const facts = [];
  const first = Math.min(...entries.map(({ queuedAtUs }) => queuedAtUs));
  const last = Math.max(...entries.map(({ endedAtUs }) => endedAtUs));
  if (first > 0 && last > first && entries.every(({ endedAtUs }) => endedAtUs > 0)) {
    facts.push({ name: "total-time", text: `${duration((last - first) / 1000)} in all`, title: "From taking the prompt in to the last ending, by the log's clock" });
  }
  const costNanoUsd = entries.reduce((sum, entry) => sum + entry.costNanoUsd, 0);
  if (entries.some(({ usage }) => usage)) {
    facts.push({ name: "total-cost", text: `${dollars(costNanoUsd)} together`, title: "What the answers cost, each by its last attempt" });
  }
  return facts;
}

/** What to say of an answer that did not come as asked; empty where nothing is. */
export function problemWords(entry) {
  if (entry.attempt === 0 && entry.reason === "cancelled") return "Removed before it started.";
  if (entry.attempt === 0 && entry.reason === "superseded") return "A newer prompt took its place before it started.";
  if (entry.status !== "failed" && !(entry.status === "ended" && (entry.error || entry.reason === "error"))) return "";
  if (entry.error?.code === "unknown_outcome") {
    return "It is not known whether the prompt was taken in. Trying again is safe: it is answered once.";
  }
  const wait = entry.error?.retry_after_s ? ` Try again in ${Math.ceil(entry.error.retry_after_s)}\u00a0s.` : "";
  return `${entry.error?.message || "The answer failed."}${wait}`;
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
