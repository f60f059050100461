/** How the console writes what the store says: states of a visit, places, names of products. */
import { html } from "lit";
import { all } from "../common/api.js";
import { currentLanguage, hasText, t, when } from "../common/i18n.js";

/** @typedef {{session_id: string, shopper_id: string, status: string, party_size: number, gate_id: string | null, opened_at: string, closed_at: string | null}} Visit */
/** @typedef {{sku: string, quantity: number, probability: number}} Line */

export const STATUSES = ["open", "closed", "charged", "needs_review", "empty", "no_account", "payment_failed", "abandoned"];
const KINDS = /** @type {Record<string, string>} */ ({
  open: "info", charged: "good", needs_review: "warn", payment_failed: "bad", no_account: "bad",
});

/** @param {string} status */
export function statusBadge(status) {
  return html`<span class="badge ${KINDS[status] ?? ""}" data-test="status" data-status=${status}>${t(`status.${status}`)}</span>`;
}

/** A visit's name for people: the beginning of its id, which is how the floor and the log call it. @param {string} id */
export function shortId(id) {
  return id.slice(0, 8);
}

/**
 * A place in the page's language; the store writes "gondola 1, shelf 2, plate 3" or "plates 3-4".
 * @param {string} text
 */
export function placeName(text) {
  const found = /^gondola (\S+), shelf (\S+?)(?:, plates? (\S+))?$/.exec(text);
  if (!found) return text;
  const [, gondola, shelf, plate] = found;
  return plate ? t("place.plate", { gondola, shelf, plate }) : t("place.shelf", { gondola, shelf });
}

/** Only the time, with seconds. @param {string | Date} at */
export function clock(at) {
  return when(at, { timeStyle: "medium" });
}

/** A stretch of time: 0:07, 12:40, 1:03:00. @param {number} seconds */
export function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = new Intl.NumberFormat(currentLanguage(), { minimumIntegerDigits: 2 });
  const one = new Intl.NumberFormat(currentLanguage());
  return hours ? `${one.format(hours)}:${two.format(minutes)}:${two.format(rest)}` : `${one.format(minutes)}:${two.format(rest)}`;
}

/** Words for what a problem or state is called by the store, or the store's own. @param {string} key @param {string} own */
export function worded(key, own) {
  return hasText(key) ? t(key) : own;
}

/** @type {Promise<Map<string, any>> | undefined} */
let asked;

/** All products by sku; asked for once, again after a failure. @returns {Promise<Map<string, any>>} */
export function products() {
  asked ??= all("/v1/products?limit=100", 5000).then(
    (found) => new Map(found.map((each) => [each.sku, each])),
    (error) => {
      asked = undefined;
      throw error;
    },
  );
  return asked;
}

/** What the answer to a question or a candidate is, in the page's language. @param {string | null} sku @param {number} quantity @param {Map<string, any> | undefined} known @param {string} own */
export function unitsOf(sku, quantity, known, own = "") {
  if (sku === null) return own === "nothing" || own === "" ? t("answer.nothing") : own.startsWith("something that") ? t("answer.unknown") : own;
  const name = known?.get(sku)?.name ?? sku;
  return quantity < 0 ? t("answer.back", { quantity: -quantity, name }) : t("answer.units", { quantity, name });
}
