/**
 * Work in slices, so that the page answers keys while much is done: all who work here take turns, and together they
 * take no more than `SLICE_MS` of a task. What fits into the first slice is done before the call returns.
 */

const SLICE_MS = 12;
/** @type {Set<() => boolean>} */
const waiting = new Set();
let sliceEnds = 0;
let timer = null;

/** @param {() => boolean} work does a little and says whether more is to be done; begins now */
export function workInSlices(work) {
  if (timer === null) beginSlice();
  waiting.add(work);
  if (performance.now() < sliceEnds) goOn(work);
}

/** Whether all that was begun is done. */
export function isIdle() {
  return waiting.size === 0;
}

function beginSlice() {
  sliceEnds = performance.now() + SLICE_MS;
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
  beginSlice();
  for (const work of [...waiting]) {
    if (performance.now() >= sliceEnds) return;
    waiting.delete(work);
    waiting.add(work); // behind the others
    goOn(work);
  }
}
