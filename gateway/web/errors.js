/** What can go wrong for a client. Names and fields are those of the Python client. */

/** The line cannot do what was asked. */
export class LineError extends Error {
  name = "LineError";
}

/** The connection has ended for good: the close code and the gateway's reason. */
export class LineClosed extends LineError {
  name = "LineClosed";

  constructor(code, reason) {
    super(`the connection has ended: ${code} ${reason}`.trimEnd());
    this.code = code;
    this.reason = reason;
  }
}

/** No whole answer. `code` for programs, `retry_after_s` where the same may work later. */
export class AnswerFailed extends LineError {
  name = "AnswerFailed";

  constructor(code, message, retryAfterS = null) {
    super(message);
    this.code = code;
    this.retry_after_s = retryAfterS;
  }
}

/** A field that cannot be sent as it is; nothing was sent. Which one, what is wrong and what to do. */
export class InvalidField extends Error {
  name = "InvalidField";

  constructor(field, problem, remedy, code = "invalid_field") {
    super(`${field} ${problem}; ${remedy}`);
    Object.assign(this, { field, problem, remedy, code });
  }
}
