/**
 * Texts, numbers, money and times in the visitor's language, by CLDR's rules as the browser knows them.
 *
 * A text is a string with `{names}`, or, where it depends on a number, an object of strings by CLDR plural category, chosen
 * by the value of `n`. Catalogues are JSON, one a language and part of the pages: /static/locales/en/shopper.json.
 */

export const LANGUAGES = /** @type {const} */ (["en", "he", "ar", "ru", "sl"]);
/** How each language calls itself. */
export const OWN_NAMES = { en: "English", he: "עברית", ar: "العربية", ru: "Русский", sl: "Slovenščina" };
const RIGHT_TO_LEFT = new Set(["he", "ar"]);
const KEY = "tillfree.language";

/** @typedef {string | Record<string, string>} Text */
/** @type {Record<string, Text>} */
let texts = {};
let language = "en";
/** @type {string[]} */
let parts = [];

/** The language of the page, such as `en`. */
export function currentLanguage() {
  return language;
}

/** The language to begin with: the one chosen before, else the browser's first that is known. */
function firstLanguage() {
  const wanted = [localStorage.getItem(KEY) ?? "", ...navigator.languages].map((tag) => tag.slice(0, 2));
  return wanted.find((tag) => LANGUAGES.includes(/** @type {any} */ (tag))) ?? "en";
}

/**
 * Load the texts of a page; before anything is drawn.
 * @param {string[]} wanted Parts of the catalogue besides `common`.
 */
export async function startTexts(wanted) {
  parts = ["common", ...wanted];
  await speak(firstLanguage());
}

/**
 * Change the language, of the page and for the next visit.
 * @param {string} next One of LANGUAGES.
 */
export async function speak(next) {
  const loaded = await Promise.all(
    parts.map(async (part) => {
      const answer = await fetch(`/static/locales/${next}/${part}.json`);
      if (!answer.ok) throw new Error(`no texts for ${next}/${part}`);
      return answer.json();
    }),
  );
  texts = Object.assign({}, ...loaded);
  language = next;
  localStorage.setItem(KEY, next);
  document.documentElement.lang = next;
  document.documentElement.dir = RIGHT_TO_LEFT.has(next) ? "rtl" : "ltr";
  window.dispatchEvent(new CustomEvent("language"));
}

/**
 * A text in the page's language.
 * @param {string} key Its name, such as `cart.total`.
 * @param {Record<string, string | number>} [values] What its `{names}` stand for; numbers are written as the language does.
 * @returns {string}
 */
export function t(key, values = {}) {
  const found = texts[key];
  if (found === undefined) return `⟦${key}⟧`;
  const form =
    typeof found === "string" ? found : (found[new Intl.PluralRules(language).select(Number(values.n))] ?? found.other);
  return form.replaceAll(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return value === undefined ? whole : typeof value === "number" ? number(value) : value;
  });
}

/** Whether there is such a text. @param {string} key */
export function hasText(key) {
  return key in texts;
}

/** A number as the language writes it. @param {number} value @param {Intl.NumberFormatOptions} [options] */
export function number(value, options) {
  return new Intl.NumberFormat(language, options).format(value);
}

/** A share of 0 to 1 in per cent; never 100 for what is not certain. @param {number} share */
export function percent(share) {
  const shown = share < 1 ? Math.min(share, 0.99) : share;
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 0 }).format(shown);
}

/**
 * An amount of money.
 * @param {number | null} minor Whole minor units; null where it is not known.
 * @param {string} currency ISO 4217 code.
 */
export function money(minor, currency) {
  if (minor === null || minor === undefined) return "–";
  const format = new Intl.NumberFormat(language, { style: "currency", currency });
  const digits = format.resolvedOptions().maximumFractionDigits ?? 2;
  return format.format(minor / 10 ** digits);
}

/** A moment. @param {string | Date} at @param {Intl.DateTimeFormatOptions} [options] */
export function when(at, options = { dateStyle: "medium", timeStyle: "short" }) {
  return new Intl.DateTimeFormat(language, options).format(new Date(at));
}

/** How long ago, or in how long. @param {string | Date} at */
export function ago(at) {
  const seconds = (new Date(at).getTime() - Date.now()) / 1000;
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto" });
  for (const [unit, length] of /** @type {[Intl.RelativeTimeFormatUnit, number][]} */ ([
    ["day", 86400],
    ["hour", 3600],
    ["minute", 60],
  ]))
    if (Math.abs(seconds) >= length) return format.format(Math.trunc(seconds / length), unit);
  return format.format(Math.trunc(seconds), "second");
}
