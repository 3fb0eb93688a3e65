/**
 * What a program asks for, checked before it is kept or sent: what the gateway would refuse for its form is refused here,
 * naming the field. The fields, choices and limits are those of the wire's `prompt`; no value is repeated in an error.
 */

import { InvalidField } from "./errors.js";

export const CHOICES = {
  compare: ["all", "first", "best", "merge"],
  on_busy: ["enqueue", "parallel", "reject", "interrupt", "rollback"],
  on_leave: ["finish", "cancel"],
  pace: ["provider", "reader"],
  priority: ["interactive", "batch"],
};
export const ROLES = ["system", "user", "assistant"];
export const LIMITS = {
  prompt_bytes_max: 524_288,
  messages_max: 512,
  metadata_entries_max: 16,
  metadata_chars_max: 512,
  answer_tokens_max: 1_000_000,
  compared_models_max: 8,
  model_chars_max: 256,
  temperature_max: 2,
};
const IDENTIFIER = /^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$/;
const IDENTIFIER_REMEDY = "use 1 to 128 letters, digits or . _ : @ - and begin with a letter or digit";
const HALF_CHARACTER = /\p{Surrogate}/u;

/** By field: raises InvalidField for a value that it cannot have. */
export const FIELDS = {
  prompt_id: checkIdentifier,
  session: checkIdentifier,
  input: checkText,
  messages: checkMessages,
  model: checkModel,
  max_tokens: checkMaxTokens,
  on_busy: checkChoice,
  on_leave: checkChoice,
  pace: checkChoice,
  priority: checkChoice,
  models: checkModels,
  compare: checkChoice,
  merge_model: checkModel,
  temperature: checkTemperature,
  cache: checkSwitch,
  metadata: checkMetadata,
};

/** Refuse what is not among the options that mean something. */
export function checkOptions(given, known) {
  if (typeof given !== "object" || given === null) throw new InvalidField("options", "are no object", `the options are ${known.join(", ")}`);
  for (const name of Object.keys(given)) {
    if (!known.includes(name)) throw new InvalidField(name.slice(0, 64), "is not one we know", `the options are ${known.join(", ")}`);
  }
}

/**
 * The `prompt` message of a request; what is undefined or null is left out.
 * @param {object} request
 * @param {number} [bytesMax] what the gateway takes, where that is known
 */
export function checkedPrompt(request, bytesMax = 0) {
  checkOptions(request, Object.keys(FIELDS));
  const said = Object.fromEntries(Object.entries(request).filter(([, value]) => value !== undefined && value !== null));
  const { prompt_id, session, ...content } = said;
  const message = { type: "prompt", prompt_id, session, ...content };
  for (const [name, check] of Object.entries(FIELDS)) {
    if (name in said || name === "session" || name === "prompt_id") check(name, message[name]);
  }
  checkContent(message, bytesMax || LIMITS.prompt_bytes_max);
  checkComparison(message);
  return ownCopy(message);
}

/** What was checked and nothing else: it may be sent again later, and the caller's lists may have changed by then. */
function ownCopy(message) {
  const { messages, models, metadata } = message;
  return {
    ...message,
    ...(messages && { messages: messages.map(({ role, content }) => ({ role, content })) }),
    ...(models && { models: [...models] }),
    ...(metadata && { metadata: { ...metadata } }),
  };
}

export function checkIdentifier(name, value) {
  if (typeof value !== "string" || !IDENTIFIER.test(value)) throw new InvalidField(name, "is no identifier", IDENTIFIER_REMEDY);
}

/** A cursor, "start" or "tail". */
export function checkPlace(name, value) {
  if (typeof value !== "string" || !/^[ -~]+$/.test(value)) throw new InvalidField(name, "is no cursor", 'say "start", "tail" or a cursor that was told');
}

/** An access token or a ticket; what gets one is asked later. */
export function checkToken(value) {
  if (typeof value !== "function" && (typeof value !== "string" || !/^[ -~]*$/.test(value))) {
    throw new InvalidField("token", "is no access token or connect ticket", "say what `tokenwire token` prints, or a function that gets one");
  }
}

/** Addresses of gateways. @returns {string[]} */
export function checkedUrls(url) {
  const urls = Array.isArray(url) ? url : [url];
  const good = (address) => typeof address === "string" && /^wss?:\/\/[^/?#\s]/i.test(address) && isUrl(address);
  if (urls.length === 0 || !urls.every(good)) throw new InvalidField("url", "is no websocket address", "say ws:// or wss://, a host and /v1/connect");
  return urls;
}

function isUrl(address) {
  try {
    return Boolean(new URL(address));
  } catch {
    return false;
  }
}

function checkText(name, value) {
  if (typeof value !== "string") throw new InvalidField(name, "is no text", "send a text");
  if (HALF_CHARACTER.test(value)) throw new InvalidField(name, "holds half a surrogate pair", "send well-formed Unicode");
}

function checkChoice(name, value) {
  if (!CHOICES[name].includes(value)) throw new InvalidField(name, "is not one of its choices", `say ${CHOICES[name].join(", ")}`);
}

function checkSwitch(name, value) {
  if (typeof value !== "boolean") throw new InvalidField(name, "is neither true nor false", "send one of the two");
}

function checkModel(name, value) {
  checkText(name, value);
  if (value.length > 2 * LIMITS.model_chars_max || charsOf(value) > LIMITS.model_chars_max) {
    throw new InvalidField(name, "is too long", `use at most ${LIMITS.model_chars_max} characters`);
  }
}

function checkModels(name, value) {
  if (!Array.isArray(value)) throw new InvalidField(name, "is no list of texts", "send a list of texts");
  for (const model of value) {
    checkModel(name, model);
    if (!model) throw new InvalidField(name, "holds an empty name", "name each model");
  }
}

function checkMaxTokens(name, value) {
  if (!Number.isInteger(value) || value < 1 || value > LIMITS.answer_tokens_max) {
    throw new InvalidField(name, "is no number of tokens", `ask for 1 to ${LIMITS.answer_tokens_max} tokens`);
  }
}

function checkTemperature(name, value) {
  if (typeof value !== "number" || !(value >= 0 && value <= LIMITS.temperature_max)) {
    throw new InvalidField(name, "is out of range", `send 0 to ${LIMITS.temperature_max}, or leave it out`);
  }
}

function checkMetadata(name, value) {
  if (Object.prototype.toString.call(value) !== "[object Object]") throw new InvalidField(name, "holds more than texts by name", "send a text for each name");
  const entries = Object.entries(value);
  if (entries.length > LIMITS.metadata_entries_max) {
    throw new InvalidField(name, `has ${entries.length} entries`, `send at most ${LIMITS.metadata_entries_max} entries`);
  }
  for (const text of entries.flat()) {
    checkText(name, text);
    if (charsOf(text) > LIMITS.metadata_chars_max) {
      throw new InvalidField(name, "has a long key or value", `keep each within ${LIMITS.metadata_chars_max} characters`);
    }
  }
}

function checkMessages(name, value) {
  const shape = 'send {"role": "system" or "user" or "assistant", "content": a text} each';
  if (!Array.isArray(value)) throw new InvalidField(name, "do not have the shape of a conversation", shape);
  for (const message of value) {
    if (!ROLES.includes(message?.role) || typeof message.content !== "string") {
      throw new InvalidField(name, "do not have the shape of a conversation", shape);
    }
    checkText(name, message.content);
  }
  if (value.length > LIMITS.messages_max) throw new InvalidField(name, `holds ${value.length}`, `send at most ${LIMITS.messages_max} messages`);
  if (value.at(-1)?.role !== "user" || !value.at(-1).content.trim()) {
    throw new InvalidField(name, "does not end with a user's words", "put the question last, as user");
  }
}

function checkContent({ input = "", messages }, bytesMax) {
  if (messages && input) throw new InvalidField("messages", "came together with input", "send one of the two");
  if (!messages && !input.trim()) throw new InvalidField("input", "is empty", "write something to be answered", "empty_prompt");
  const texts = messages ? messages.map(({ content }) => content) : [input];
  const bytes = texts.reduce((sum, text) => sum + new TextEncoder().encode(text).length, 0);
  if (bytes > bytesMax) {
    throw new InvalidField(messages ? "messages" : "input", `has ${bytes} bytes`, `send at most ${bytesMax} bytes`, "prompt_too_large");
  }
}

function checkComparison({ model = "", models = [], compare = "all", merge_model = "" }) {
  const alone = "name at least two models, or leave it out";
  if (models.length === 0) {
    if (compare !== "all") throw new InvalidField("compare", "came without models", alone);
    if (merge_model) throw new InvalidField("merge_model", "came without models", alone);
    return;
  }
  if (model) throw new InvalidField("models", "came together with model", "send one of the two");
  if (models.length < 2 || models.length > LIMITS.compared_models_max) {
    throw new InvalidField("models", `names ${models.length}`, `name 2 to ${LIMITS.compared_models_max}, or one as model`);
  }
  if (merge_model && compare !== "merge") throw new InvalidField("merge_model", "came without compare: merge", "say compare: merge, or leave it out");
}

function charsOf(text) {
  return [...text].length;
}
