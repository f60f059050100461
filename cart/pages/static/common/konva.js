// Konva comes as a classic script; this makes a module of it.
// @ts-expect-error there are no types at this address
import "/vendor/konva/konva.min.js";

/** @type {typeof import("konva").default} */
const Konva = /** @type {any} */ (globalThis).Konva;

export default Konva;
