/**
 * Work in slices, so that the page answers keys while much is done: all who work here take turns, and together they
 * take no more than a slice of a task. What fits into the first one is done before the call returns.
 *
 * A slice is as long as the page was busy otherwise since the last one, within limits: where a long page takes a tenth
 * of a second to be laid out, slices of a hundredth would spend all the time on that.
 */

const SLICE_MS_MIN = 12;
const SLICE_MS_MAX = 100;
/** @type {Set<() => boolean>} */
const waiting = new Set();
let sliceEnds = 0;
let restsSinceMs = 0;
let timer = null;

/** @param {() => boolean} work does a little and says whether more is to be done; begins now */
export function workInSlices(work) {
  if (timer === null) beginSlice(SLICE_MS_MIN);
  waiting.add(work);
  if (performance.now() < sliceEnds) goOn(work);
  restsSinceMs = performance.now();
}

/** Whether all that was begun is done. */
export function isIdle() {
  return waiting.size === 0;
}

function beginSlice(sliceMs) {
  sliceEnds = performance.now() + sliceMs;
  timer = setTimeout(turn, 0);
}

function goOn(work) {
  do {
    if (!work()) return waiting.delete(work);
  } while (performance.now() < sliceEnds);
  return false;
}

/** The next task: everybody's turn, the one who waits longest first, until the slice is over. */
function turn() {
  timer = null;
  if (waiting.size === 0) return;
  const restedMs = performance.now() - restsSinceMs;
  beginSlice(Math.min(Math.max(SLICE_MS_MIN, restedMs), SLICE_MS_MAX));
  for (const work of [...waiting]) {
    if (performance.now() >= sliceEnds) break;
    waiting.delete(work);
    waiting.add(work); // behind the others
    goOn(work);
  }
  restsSinceMs = performance.now();
}
