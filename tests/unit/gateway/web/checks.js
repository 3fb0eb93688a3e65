// What the suites beside this file share: saying what was expected.

export function equal(actual, expected) {
  const [left, right] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (left !== right) throw new Error(`got ${left}, expected ${right}`);
}

export function ok(value, words = "not true") {
  if (!value) throw new Error(words);
}
