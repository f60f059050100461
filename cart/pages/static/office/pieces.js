/** What several views of the office have in common. */
import { html } from "lit";
import { t, when } from "../common/i18n.js";
import { ask, toast } from "../common/view.js";

/**
 * Two fields: from when, and until when; by the store's clock.
 * @param {string} id What their ids begin with. @param {string} zone @param {{from?: string, until?: string}} [values] @param {string[]} [labels]
 */
export function validityFields(id, zone, values = {}, labels = [t("valid.from"), t("valid.until")]) {
  return html`${["from", "until"].map(
    (name, place) => html`<div class="field"><label for="${id}-${name}">${labels[place]}</label>
      <input id="${id}-${name}" name=${name} type="datetime-local" data-test="${id}-${name}" aria-describedby="${id}-zone" .value=${values[/** @type {"from" | "until"} */ (name)] ?? ""} /></div>`,
  )}<p id="${id}-zone" class="muted small">${t("valid.zone", { zone })}</p>`;
}

/** A moment by the store's clock, as its fields are. @param {string} at @param {string} timeZone @param {"short" | "medium"} [timeStyle] */
export function whenIn(at, timeZone, timeStyle = "short") {
  return when(at, { dateStyle: "medium", timeStyle, timeZone });
}

/** From when until when something counts, by the store's clock. @param {string} from @param {string | null} until @param {string} zone */
export function span(from, until, zone) {
  return until ? html`<time datetime=${from}>${whenIn(from, zone)}</time> – <time datetime=${until}>${whenIn(until, zone)}</time>` : html`<time datetime=${from}>${t("valid.open", { at: whenIn(from, zone) })}</time>`;
}

/** Whether something counts at a moment, will, or did. @param {{valid_from: string, valid_until: string | null}} each @param {number} now_ms @returns {"planned" | "running" | "ended"} */
export function stateOf(each, now_ms) {
  if (each.valid_until !== null && Date.parse(each.valid_until) <= now_ms) return "ended";
  return Date.parse(each.valid_from) > now_ms ? "planned" : "running";
}

const BADGES = /** @type {Record<string, string>} */ ({ planned: "info", running: "good" });

/** @param {"planned" | "running" | "ended"} state */
export function stateBadge(state) {
  return html`<span class="badge ${BADGES[state] ?? ""}" data-test="state" data-state=${state}>${t(`valid.${state}`)}</span>`;
}

/** Show a secret that the store does not show again. @param {string} title @param {string} secret */
export function shownOnce(title, secret) {
  const copy = async (/** @type {any} */ event) => {
    const field = /** @type {HTMLInputElement} */ (event.target.closest("dialog").querySelector("input"));
    field.select();
    try {
      await navigator.clipboard.writeText(secret);
      toast(t("secret.copied"));
    } catch {
      // A page without encryption has no clipboard; the text is selected.
    }
  };
  return ask(
    title,
    (close) => html`<p>${t("secret.once")}</p>
      <div class="field"><label for="secret">${t("secret.is")}</label><input id="secret" class="mono" dir="ltr" readonly data-test="secret" .value=${secret} /></div>
      <div class="row"><button class="button" data-test="secret-copy" @click=${copy}>${t("secret.copy")}</button>
        <button class="button primary" autofocus data-test="secret-kept" @click=${() => close(true)}>${t("secret.kept")}</button></div>`,
  );
}
