/** Cameras with what they see, gates, scales: how each does; and the tokens by which gates and scales speak to the store. */
import { html, nothing } from "lit";
import { all, get, picture, send } from "../common/api.js";
import { ago, number, t, when } from "../common/i18n.js";
import { Loaded, View, announce, attempt, confirmed, empty, toast } from "../common/view.js";
import { Intention } from "../common/intention.js";
import { shownOnce } from "./pieces.js";

const LOOK_EVERY_MS = 5000;
const PICTURE_EVERY_MS = 15_000;
const SEES_CAMERAS = ["owner", "manager", "staff", "reviewer", "engineer"];
const LAYS_OUT = ["owner", "manager", "engineer"];
const GIVES_TOKENS = ["owner", "manager"];
/** Columns of numbers. */
const NUMBERS = new Set(["devices.opened", "devices.refused", "devices.hertz", "devices.grams"]);
/** What the store says of a device that fails, and the text that says it in the page's language. */
const DETAILS = /** @type {Record<string, string>} */ ({
  "no picture yet": "devices.no_picture_yet",
  "no picture for some time": "devices.no_picture",
  "it has not answered its last order": "devices.no_answer",
  "it could not open the last time": "devices.not_opened",
  "it has not spoken yet": "devices.not_spoken",
  "it has been silent for some time": "devices.silent",
  "its shelf speaks, but the plate does not answer": "devices.plate_dead",
});

/** @param {string} detail */
function worded(detail) {
  return detail in DETAILS ? t(DETAILS[detail]) : detail;
}

/** @param {boolean} healthy */
function health(healthy) {
  return html`<span class="badge ${healthy ? "good" : "bad"}" data-test="health" data-healthy=${healthy}>${t(healthy ? "devices.well" : "devices.unwell")}</span>`;
}

/** @param {string | null} at */
function lastAt(at) {
  return at ? html`<time datetime=${at}>${ago(at)}</time>` : "–";
}

class OfficeDevices extends View {
  static properties = { own: {}, tick: { state: true } };
  cameras = new Loaded(this, () => get("/v1/cameras"));
  gates = new Loaded(this, () => get("/v1/gates"));
  scales = new Loaded(this, () => get("/v1/scales"));

  constructor() {
    super();
    /** @type {any} */
    this.own = null;
    this.tick = 0;
    /** Pictures by camera. @type {Map<string, string>} */
    this.pictures = new Map();
    /** Cameras whose picture was asked for. @type {Set<string>} */
    this.asked = new Set();
    this.pictured_ms = -Infinity;
    this.picturing = false;
  }

  connectedCallback() {
    super.connectedCallback();
    void this.#look();
    this.timer = setInterval(() => void this.#look(), LOOK_EVERY_MS);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
    for (const each of this.pictures.values()) URL.revokeObjectURL(each);
    this.pictures.clear();
  }

  async #look() {
    if (document.hidden) return;
    await Promise.all([this.cameras.load(), this.gates.load(), this.scales.load()]);
    if (!this.picturing && performance.now() - this.pictured_ms > PICTURE_EVERY_MS) await this.#picture();
  }

  /** Fetch what each camera sees, one after another: a picture may have to be drawn first. */
  async #picture() {
    if (!SEES_CAMERAS.includes(this.own?.role)) return;
    this.picturing = true;
    try {
      for (const { camera_id } of this.cameras.value?.items ?? []) {
        const fresh = await picture(`/v1/cameras/${encodeURIComponent(camera_id)}/picture`).catch(() => undefined);
        this.asked.add(camera_id);
        this.tick++;
        if (fresh === undefined) continue;
        if (!this.isConnected) {
          URL.revokeObjectURL(fresh);
          return;
        }
        const old = this.pictures.get(camera_id);
        this.pictures.set(camera_id, fresh);
        await this.updateComplete;
        if (old) URL.revokeObjectURL(old);
      }
    } finally {
      this.picturing = false;
      this.pictured_ms = performance.now();
    }
  }

  /** @param {any} each */
  #camera(each) {
    const src = this.pictures.get(each.camera_id);
    const size = each.resolution_wh?.map((/** @type {number} */ side) => number(side, { useGrouping: false })).join(" × ");
    return html`<figure class="card" data-test="camera" data-camera=${each.camera_id}>
      ${SEES_CAMERAS.includes(this.own?.role) ? html`<div class="seen">${src ? html`<img src=${src} alt=${t("devices.sees", { camera: each.camera_id })} data-test="camera-picture" />` : html`<p class="muted">${t(this.asked.has(each.camera_id) ? "devices.no_picture_yet" : "loading")}</p>`}</div>` : nothing}
      <figcaption class="stack"><div class="row spread"><strong><bdi>${each.camera_id}</bdi></strong>${health(each.healthy)}</div>
        <p class="muted small">${size ? html`<bdi class="numbers">${size}</bdi> · ` : nothing}${t("devices.last")} ${lastAt(each.last_frame_at)}${each.latency_s == null ? nothing : html` · ${t("devices.latency", { n: Math.round(each.latency_s * 1000) })}`}</p>
        ${each.detail ? html`<p class="small" dir="auto">${worded(each.detail)}</p>` : nothing}
        <p class="small" data-test="camera-notice" data-moved=${Boolean(each.notice)}>${each.notice
          ? html`<span class="badge warn">${t("devices.calibration_off")}</span> <span dir="auto">${each.notice}</span>`
          : html`<span class="badge">${t("devices.calibration_fits")}</span>`}</p></figcaption></figure>`;
  }

  /** @param {any} each */
  #gate(each) {
    return html`<tr data-test="gate"><th scope="row"><bdi>${each.gate_id}</bdi></th><td>${health(each.healthy)}</td><td>${lastAt(each.last_seen_at)}</td>
      <td class="number">${number(each.opened_today)}</td><td class="number">${number(each.refused_today)}</td><td dir="auto">${worded(each.detail)}</td></tr>`;
  }

  /** @param {any} each */
  #plate(each) {
    return html`<tr data-test="plate"><th scope="row"><bdi>${each.plate_id}</bdi></th><td>${health(each.healthy)}</td><td>${lastAt(each.last_at)}</td>
      <td class="number">${each.rate_hz === null ? "–" : number(each.rate_hz)}</td><td class="number">${each.grams === null ? "–" : number(each.grams)}</td><td dir="auto">${worded(each.detail)}</td></tr>`;
  }

  /** @param {string[]} columns Their headings, as texts. @param {unknown[]} rows */
  #table(columns, rows) {
    return html`<div class="scroll-x" tabindex="0"><table><thead><tr>${columns.map((each) => html`<th scope="col" class=${NUMBERS.has(each) ? "number" : ""}>${t(each)}</th>`)}</tr></thead><tbody>${rows}</tbody></table></div>`;
  }

  render() {
    return html`<div class="stack" data-test="devices">
      <section class="stack" data-test="cameras"><h2>${t("devices.cameras")}</h2>
        ${this.cameras.show(({ items }) => items.length ? html`<div class="cameras">${items.map((/** @type {any} */ each) => this.#camera(each))}</div>` : empty(t("nothing")))}
        ${LAYS_OUT.includes(this.own?.role) ? html`<p class="muted">${t("devices.change")} <a href="#/layout" data-test="to-layout">${t("office.layout")}</a></p>` : nothing}</section>
      <section class="card" data-test="gates"><h2>${t("devices.gates")}</h2>
        ${this.gates.show(({ items }) => items.length ? this.#table(["devices.name", "state", "devices.last_seen", "devices.opened", "devices.refused", "devices.detail"], items.map((/** @type {any} */ each) => this.#gate(each))) : empty(t("nothing")))}</section>
      <section class="card" data-test="scales"><h2>${t("devices.scales")}</h2>
        ${this.scales.show(({ items }) => {
          if (!items.length) return empty(t("nothing"));
          const ill = items.filter((/** @type {any} */ each) => !each.healthy);
          const columns = ["devices.name", "state", "devices.last_seen", "devices.hertz", "devices.grams", "devices.detail"];
          return html`<p>${t("devices.plates", { n: items.length, well: items.length - ill.length })}</p>
            ${ill.length ? this.#table(columns, ill.map((/** @type {any} */ each) => this.#plate(each))) : nothing}
            <details data-test="all-plates"><summary class="button">${t("devices.all_plates")}</summary>${this.#table(columns, items.map((/** @type {any} */ each) => this.#plate(each)))}</details>`;
        })}</section>
      ${GIVES_TOKENS.includes(this.own?.role) ? html`<device-tokens></device-tokens>` : nothing}</div>`;
  }
}
customElements.define("office-devices", OfficeDevices);

/** Accounts of gates and scales, and their tokens: made and shown once, and taken back. */
class DeviceTokens extends View {
  static properties = { kind: { state: true }, busy: { state: true } };
  devices = new Loaded(this, () => all("/v1/devices?limit=100", 1000));

  constructor() {
    super();
    this.kind = "both";
    this.busy = false;
    this.intention = new Intention();
  }

  connectedCallback() {
    super.connectedCallback();
    void this.devices.load();
  }

  /** @param {SubmitEvent} event */
  async #open(event) {
    event.preventDefault();
    if (this.busy) return;
    const element = /** @type {HTMLFormElement} */ (event.target);
    const form = new FormData(element);
    const [name, kind] = [String(form.get("name")), String(form.get("kind"))];
    const scopes = (kind === "both" ? ["gate", "scale"] : [kind]).map((each) => `${each}:${name}`);
    this.busy = true;
    const issued = await attempt(() => send("POST", "/v1/devices", { name, scopes })).finally(() => (this.busy = false));
    if (!issued) return;
    element.reset();
    await shownOnce(t("tokens.made", { name }), issued.token);
    await this.devices.load();
  }

  /** @param {any} device @param {any} token */
  async #revoke(device, token) {
    if (this.busy || !(await confirmed(t("tokens.revoke"), t("tokens.revoke.more", { name: device.name }), t("tokens.revoke")))) return;
    this.busy = true;
    const done = await attempt(async () => (await send("DELETE", `/v1/tokens/${token.token_id}`), true)).finally(() => (this.busy = false));
    if (!done) return;
    toast(t("saved"));
    // The button that was pressed is gone.
    announce(document.body);
    await this.devices.load();
  }

  render() {
    return html`<section class="card" data-test="tokens"><h2>${t("tokens.title")}</h2>
      ${this.devices.show((devices) => {
        const rows = devices.flatMap((device) => device.tokens.map((/** @type {any} */ token) => ({ device, token })));
        if (!rows.length) return empty(t("tokens.none"));
        return html`<div class="scroll-x" tabindex="0"><table><thead><tr>${["devices.name", "tokens.for", "tokens.since", "tokens.until"].map((each) => html`<th scope="col">${t(each)}</th>`)}<th></th></tr></thead><tbody>${rows.map(
          ({ device, token }) => html`<tr data-test="token" data-device=${device.name}><th scope="row"><bdi>${device.name}</bdi></th><td class="mono"><bdi>${(token.scopes ?? ["*"]).join(", ")}</bdi></td>
            <td>${when(token.created_at, { dateStyle: "medium" })}</td><td>${when(token.expires_at, { dateStyle: "medium" })}</td>
            <td class="end"><button class="button danger" data-test="token-revoke" ?disabled=${this.busy} aria-label=${`${t("tokens.revoke")}: ${device.name}`} @click=${() => this.#revoke(device, token)}>${t("tokens.revoke")}</button></td></tr>`,
        )}</tbody></table></div>`;
      })}
      <form class="stack fields" data-test="token-form" aria-busy=${this.busy} @submit=${this.#open}><h3>${t("tokens.new")}</h3>
        <div class="field"><label for="device-name">${t("devices.name")}</label><input id="device-name" name="name" required maxlength="64" pattern="[A-Za-z0-9][A-Za-z0-9_.\\-]*" dir="ltr" autocomplete="off" data-test="device-name" aria-describedby="device-hint" /><p id="device-hint" class="muted small">${t("tokens.hint")}</p></div>
        <div class="field"><label for="device-kind">${t("tokens.for")}</label><select id="device-kind" name="kind" data-test="device-kind">${["both", "gate", "scale"].map((each) => html`<option value=${each}>${t(`tokens.${each}`)}</option>`)}</select></div>
        <div class="row"><button class="button primary" data-test="token-make" ?disabled=${this.busy}>${t(this.busy ? "saving" : "tokens.make")}</button></div></form></section>`;
  }
}
customElements.define("device-tokens", DeviceTokens);
