/** Money, rates and moments as people type them, and as the store has them. */
import { number } from "../common/i18n.js";

/** How many digits a currency has after the point. @param {string} currency */
function digitsOf(currency) {
  return new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits ?? 2;
}

/** Whole minor units of what was typed. @param {FormDataEntryValue | null} typed @param {string} currency */
export function minorOf(typed, currency) {
  return Math.round(Number(typed) * 10 ** digitsOf(currency));
}

/** What stands in a field for an amount. @param {number | null} minor @param {string} currency */
export function typedAmount(minor, currency) {
  return minor === null ? "" : (minor / 10 ** digitsOf(currency)).toFixed(digitsOf(currency));
}

/** A rate in basis points, in per cent. @param {number} rate_bp */
export function rate(rate_bp) {
  return number(rate_bp / 10_000, { style: "percent", maximumFractionDigits: 2 });
}

/** Basis points of per cent that were typed. @param {FormDataEntryValue | null} typed */
export function rateOf(typed) {
  return Math.round(Number(typed) * 100);
}

/** How far a zone's clock is ahead of UTC at a moment. @param {number} at_ms @param {string} zone */
function ahead_ms(at_ms, zone) {
  const format = new Intl.DateTimeFormat("en-u-ca-gregory-nu-latn", {
    timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric", hour: "numeric", minute: "numeric", second: "numeric",
  });
  const told = Object.fromEntries(format.formatToParts(at_ms).map((part) => [part.type, Number(part.value)]));
  return Date.UTC(told.year, told.month - 1, told.day, told.hour, told.minute, told.second) - Math.floor(at_ms / 1000) * 1000;
}

/** The moment when a zone's clock shows a time such as `2026-03-29T08:00`. @param {string} local @param {string} zone */
export function momentIn(local, zone) {
  const shown_ms = Date.parse(`${local}Z`);
  // The first guess may lie on the other side of a change of the clocks.
  const near_ms = shown_ms - ahead_ms(shown_ms, zone);
  return new Date(shown_ms - ahead_ms(near_ms, zone)).toISOString();
}

/** What a zone's clock shows at a moment, as a field for a time has it. @param {string} at @param {string} zone */
export function localIn(at, zone) {
  const at_ms = Date.parse(at);
  return new Date(at_ms + ahead_ms(at_ms, zone)).toISOString().slice(0, 16);
}

/**
 * From when and until when, as two fields of a form say it.
 * @param {FormData} form @param {string} zone @returns {{valid_from?: string, valid_until?: string}}
 */
export function validity(form, zone) {
  const [from, until] = ["from", "until"].map((name) => String(form.get(name) ?? ""));
  return { ...(from ? { valid_from: momentIn(from, zone) } : {}), ...(until ? { valid_until: momentIn(until, zone) } : {}) };
}
