/** One replay, or two side by side, on one scrubber: the floor, pictures, what was believed and why, weights, receipts. */
import { html, nothing, svg } from "lit";
import { get, picture } from "../common/api.js";
import { money, number, percent, t } from "../common/i18n.js";
import { Loaded, View, empty } from "../common/view.js";

const STEP_S = 0.2;
const WINDOW_S = 30;
const NEAR_S = 3;

/** @param {number} t_s */
function seconds(t_s) {
  return number(t_s, { style: "unit", unit: "second", minimumFractionDigits: 1, maximumFractionDigits: 1 });
}

/** What an interaction came to, for comparing. @param {any} each */
function meaning(each) {
  return [each.kind, each.bin_id, each.sku, each.quantity, each.recorded_for].join("|");
}

/** How sure one is of what was believed, which is never quite. @param {number} probability */
function sureness(probability) {
  return percent(Math.min(probability, 0.99));
}

/** What a receipt came to, for comparing: another run names the same shopper and visit differently. @param {any} each */
function bill(each) {
  const lines = each.lines.map((/** @type {any} */ line) => JSON.stringify(Object.entries(line).sort()));
  return JSON.stringify([each.status, each.total_minor, lines.sort()]);
}

/** Interactions of one run that the other does not have. @param {any[]} own @param {any[] | undefined} other */
function differing(own, other) {
  if (!other) return new Set();
  const left = [...other];
  const found = new Set();
  for (const each of own) {
    const at = left.findIndex((their) => meaning(their) === meaning(each) && Math.abs(their.t_s - each.t_s) <= NEAR_S);
    if (at < 0) found.add(each);
    else left.splice(at, 1);
  }
  return found;
}

class ReplayPane extends View {
  static properties = { replay: { attribute: false }, other: { attribute: false }, t_s: { attribute: false }, picked: { state: true }, camera: { state: true } };

  constructor() {
    super();
    /** @type {any} */ this.replay = undefined;
    /** @type {any} */ this.other = undefined;
    this.t_s = 0;
    /** @type {any} */ this.picked = undefined;
    this.camera = "";
    this.chunk = -1;
    this.shot = "";
    this.shotKey = "";
    this.moments = new Loaded(this, async (/** @type {number} */ from_s) =>
      (await get(`/v1/replays/${this.replay.replay_id}/moments?from_s=${from_s}&to_s=${from_s + WINDOW_S}`)).items);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    if (this.shot) URL.revokeObjectURL(this.shot);
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    const chunk = Math.floor(this.t_s / WINDOW_S);
    if (chunk !== this.chunk || changed.has("replay")) {
      this.chunk = chunk;
      queueMicrotask(() => this.moments.load(chunk * WINDOW_S));
    }
    const cameras = this.replay.document?.cameras ?? [];
    if (!cameras.includes(this.camera)) this.camera = cameras[0] ?? "";
    if (this.camera) void this.#look(`/v1/replays/${this.replay.replay_id}/pictures?camera_id=${encodeURIComponent(this.camera)}&t_s=${this.t_s.toFixed(1)}`);
  }

  /** @param {string} path */
  async #look(path) {
    if (path === this.shotKey) return;
    this.shotKey = path;
    let found = "";
    try {
      found = await picture(path);
    } catch {
      // This camera had not begun yet.
    }
    // One has gone on to another instant meanwhile, or away.
    if (path !== this.shotKey || !this.isConnected) return URL.revokeObjectURL(found);
    URL.revokeObjectURL(this.shot);
    this.shot = found;
    this.requestUpdate();
  }

  get moment() {
    const until = (this.moments.value ?? []).filter((/** @type {any} */ each) => each.t_s <= this.t_s + 0.01);
    return until.at(-1) ?? this.moments.value?.[0];
  }

  render() {
    const { document: found } = this.replay;
    const name = this.replay.label || this.replay.recording;
    if (!found) return html`<section class="card"><h2 dir="auto">${name}</h2>${empty(t(`status.${this.replay.status}`))}</section>`;
    const marks = differing(found.interactions, this.other?.document?.interactions);
    return html`<section class="stack" aria-label=${name}>
      <h2 dir="auto">${name}</h2>
      ${this.#plan(found.floor)}${this.#picture(found.cameras)}${this.#believed()}
      <div class="card"><h3>${t("player.interactions")}</h3>
        ${found.interactions.length === 0 ? empty(t("player.nothing")) : html`<ul class="happened">${found.interactions.map((/** @type {any} */ each) => this.#line(each, marks.has(each)))}</ul>`}</div>
      ${this.picked && found.interactions.includes(this.picked) ? this.#why(this.picked) : nothing}
      ${this.#receipts(found.document.receipts)}
    </section>`;
  }

  /** @param {any} floor */
  #plan(floor) {
    const points = [...(floor.walkable_m ?? []), ...floor.bins.flatMap((/** @type {any} */ bin) => bin.outline_m)];
    if (!points.length) return nothing;
    const xs = points.map((point) => point[0]);
    const ys = points.map((point) => point[1]);
    const [left, top] = [Math.min(...xs) - 0.3, Math.min(...ys) - 0.3];
    const moment = this.moment;
    const touched = new Set((moment?.contacts ?? []).map((/** @type {any} */ each) => each.bin_id));
    // Metres go up, pixels down.
    const flat = (/** @type {number[][]} */ outline) => outline.map(([x, y]) => `${x},${-y}`).join(" ");
    return html`<svg class="plan" role="img" aria-label=${t("player.plan")} viewBox="${left} ${-Math.max(...ys) - 0.3} ${Math.max(...xs) + 0.3 - left} ${Math.max(...ys) + 0.3 - top}">
      ${floor.walkable_m ? svg`<polygon class="floor" points=${flat(floor.walkable_m)} />` : nothing}
      ${floor.bins.map((/** @type {any} */ bin) => svg`<polygon class="bin" points=${flat(bin.outline_m)} />`)}
      ${floor.bins.filter((/** @type {any} */ bin) => touched.has(bin.bin_id)).map((/** @type {any} */ bin) => svg`<polygon class="touched" points=${flat(bin.outline_m)} />`)}
      ${(moment?.unsettled ?? []).filter((/** @type {any} */ each) => each.place_m).map((/** @type {any} */ each) => svg`<circle class="open" cx=${each.place_m[0]} cy=${-each.place_m[1]} r="0.3" />`)}
      ${(moment?.people ?? []).filter((/** @type {any} */ each) => each.position_m).map(
        (/** @type {any} */ each) => svg`<circle class="person" cx=${each.position_m[0]} cy=${-each.position_m[1]} r="0.18" />
          <text x=${each.position_m[0] + 0.22} y=${-each.position_m[1]}>${each.label}</text>
          ${each.hands_m.map((/** @type {number[]} */ hand) => svg`<circle class="hand" cx=${hand[0]} cy=${-hand[1]} r="0.07" />`)}`,
      )}</svg>`;
  }

  /** @param {string[]} cameras */
  #picture(cameras) {
    if (!cameras.length) return html`<p class="muted">${t("player.no_pictures")}</p>`;
    const boxes = this.moment?.boxes?.[this.camera] ?? [];
    const [width, height] = this.replay.document.resolutions_wh[this.camera] ?? [640, 360];
    return html`<div class="row" role="group" aria-label=${t("sensor.cameras")}>${cameras.map(
        (each) => html`<button class="button" aria-pressed=${each === this.camera} @click=${() => (this.camera = each)}>${each}</button>`)}</div>
      <div class="shot">${this.shot ? html`<img src=${this.shot} alt=${this.camera} width=${width} height=${height} />` : html`<div class="skeleton"></div>`}
        <svg viewBox="0 0 ${width} ${height}" aria-hidden="true">${boxes.map(
          (/** @type {any} */ each) => svg`${each.box_px ? svg`<rect x=${each.box_px[0]} y=${each.box_px[1]} width=${each.box_px[2] - each.box_px[0]} height=${each.box_px[3] - each.box_px[1]} />` : nothing}
            ${each.hands_px.map((/** @type {number[]} */ hand) => svg`<circle cx=${hand[0]} cy=${hand[1]} r="8" />`)}`)}</svg></div>`;
  }

  #believed() {
    return html`<div class="card believed"><h3>${t("player.believed")}</h3>${this.moments.show(() => {
      const moment = this.moment;
      if (!moment) return empty(t("player.nothing"));
      return html`<ul class="stack">
        ${moment.carts.map((/** @type {any} */ cart) => html`<li><strong dir="auto">${cart.label}</strong>: ${cart.lines.length ? cart.lines.map((/** @type {any} */ line) => `${number(line.quantity)} × ${line.name}`).join(", ") : t("player.empty_cart")}</li>`)}
        ${moment.contacts.map((/** @type {any} */ each) => html`<li><bdi>${each.label}</bdi> → <bdi class="mono">${each.bin_id}</bdi></li>`)}
        ${moment.unsettled.length ? html`<li>${t("player.unsettled", { n: moment.unsettled.length })}</li>` : nothing}</ul>`;
    })}</div>`;
  }

  /** @param {any} each @param {boolean} differs */
  #line(each, differs) {
    return html`<li class=${differs ? "differs" : ""}><button class="button plain" aria-pressed=${each === this.picked}
      @click=${() => { this.picked = each; this.dispatchEvent(new CustomEvent("seek", { detail: each.t_s, bubbles: true })); }}>
      <span class="numbers">${seconds(each.t_s)}</span><span class="grow">${t(`kind.${each.kind}`)} ${number(each.quantity)} × <bdi>${each.name || each.bin_id}</bdi> · <bdi>${each.recorded_for ?? t("player.nobody")}</bdi></span>
      ${differs ? html`<span class="badge warn">${t("player.differs")}</span>` : nothing}
      <span class="badge ${each.sure ? "good" : "warn"}">${sureness(each.candidates[0]?.probability ?? 0)}</span></button></li>`;
  }

  /** @param {any} each */
  #why(each) {
    const curve = each.weight?.times_s.map((/** @type {number} */ at, /** @type {number} */ i) => [at, each.weight.grams[i]]).filter((/** @type {any[]} */ point) => point[1] !== null) ?? [];
    return html`<div class="card" aria-live="polite"><h3>${t("player.why")}</h3>
      <ul class="stack">${each.candidates.map((/** @type {any} */ one) => html`<li class="row"><meter min="0" max="1" .value=${one.probability} aria-label=${sureness(one.probability)}></meter>
        <span class="numbers">${sureness(one.probability)}</span><bdi>${one.label}</bdi>: ${number(one.quantity)} × <bdi>${one.name || "?"}</bdi></li>`)}</ul>
      ${each.contacts.map((/** @type {any} */ hand) => html`<p>${t("player.hand", { who: hand.label, from: seconds(hand.start_s), to: seconds(hand.end_s) })}
        <bdi class="mono">${hand.bins.map((/** @type {any[]} */ [bin, share]) => `${bin} ${percent(share)}`).join(", ")}</bdi></p>`)}
      ${each.weight ? html`<p>${t("player.weight", { grams: each.weight.delta_g, sigma: each.weight.sigma_g })}</p>` : html`<p>${t("player.no_weight")}</p>`}
      ${curve.length > 1 ? this.#curve(curve) : nothing}</div>`;
  }

  /** @param {number[][]} curve */
  #curve(curve) {
    const [from, to] = [curve[0][0], curve[curve.length - 1][0]];
    const grams = curve.map((point) => point[1]);
    const [low, high] = [Math.min(...grams), Math.max(...grams)];
    const path = curve.map(([at, g], i) => `${i ? "L" : "M"}${((at - from) / (to - from || 1)) * 100},${((high - g) / (high - low || 1)) * 96 + 2}`).join("");
    return html`<svg class="curve" role="img" aria-label=${t("player.curve")} viewBox="0 0 100 100" preserveAspectRatio="none"><path d=${path} /></svg>
      <p class="small muted row spread" dir="ltr"><span>${seconds(from)}</span><span>${number(low)}…${number(high)} g</span><span>${seconds(to)}</span></p>`;
  }

  /** @param {any[]} receipts */
  #receipts(receipts) {
    const theirs = this.other?.document?.document.receipts;
    const same = (/** @type {any} */ each) => !theirs || theirs.some((/** @type {any} */ their) => bill(their) === bill(each));
    return html`<div class="card"><h3>${t("player.receipts")}</h3>${receipts.length ? html`<ul class="stack">${receipts.map((each) => html`<li class=${same(each) ? "" : "differs"}>
      <div class="row spread"><strong dir="auto">${each.shopper}</strong>${same(each) ? nothing : html`<span class="badge warn">${t("player.differs")}</span>`}<span class="badge">${t(`outcome.${each.status}`)}</span><span class="numbers">${money(each.total_minor, each.currency)}</span></div>
      <p class="muted">${each.lines.map((/** @type {any} */ line) => `${number(line.quantity)} × ${line.name}`).join(", ")}</p></li>`)}</ul>` : empty(t("player.nothing"))}</div>`;
  }
}
customElements.define("replay-pane", ReplayPane);

class ReplayPlayer extends View {
  static properties = { ids: { attribute: false }, t_s: { state: true }, playing: { state: true } };

  constructor() {
    super();
    this.ids = "";
    this.t_s = 0;
    this.playing = false;
    this.replays = new Loaded(this, (/** @type {string} */ ids) => Promise.all(ids.split("/").map((id) => get(`/v1/replays/${encodeURIComponent(id)}`))));
  }

  connectedCallback() {
    super.connectedCallback();
    this.timer = setInterval(() => {
      if (this.playing) this.#seek(this.t_s + STEP_S);
    }, STEP_S * 1000);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    clearInterval(this.timer);
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has("ids")) queueMicrotask(() => this.replays.load(this.ids));
  }

  get length_s() {
    return Math.max(STEP_S, ...(this.replays.value ?? []).map((each) => each.duration_s));
  }

  /** @param {number} t_s */
  #seek(t_s) {
    this.t_s = Math.min(Math.max(t_s, 0), this.length_s);
    if (this.t_s >= this.length_s) this.playing = false;
  }

  render() {
    const two = this.ids.includes("/");
    return html`<div class="stack"><h1>${t(two ? "player.compare" : "player.title")}</h1>
      ${this.replays.show((found) => html`<div class="row transport">
          <button class="button" data-test="play" @click=${() => (this.playing = !this.playing)}>${t(this.playing ? "player.pause" : "player.play")}</button>
          <input type="range" dir="ltr" min="0" max=${this.length_s} step=${STEP_S} .value=${String(this.t_s)} aria-label=${t("player.scrub")} aria-valuetext=${seconds(this.t_s)}
            @input=${(/** @type {any} */ event) => this.#seek(Number(event.target.value))} />
          <output class="numbers">${seconds(this.t_s)}</output></div>
        <div class="panes" @seek=${(/** @type {CustomEvent} */ event) => this.#seek(event.detail)}>
          ${found.map((each, i) => html`<replay-pane .replay=${each} .other=${found[1 - i]} .t_s=${this.t_s}></replay-pane>`)}</div>`)}</div>`;
  }
}
customElements.define("replay-player", ReplayPlayer);
