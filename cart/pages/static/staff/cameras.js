/** Cameras: up to four live, with what the store sees on them, how late that is, and how each camera does. */
import { html, nothing } from "lit";
import { get } from "../common/api.js";
import { ago, number, t } from "../common/i18n.js";
import { Loaded, View, empty } from "../common/view.js";
import { FrameStream, drawFrame } from "./frames.js";

/** @typedef {{camera_id: string, healthy: boolean, last_frame_at: string | null, detail: string, resolution_wh?: [number, number] | null, latency_s?: number | null, notice?: string}} Camera */

const MOST_AT_ONCE = 4;
const LOOK_EVERY_MS = 5000;
const FPS = 10;
const KEY = "tillfree.cameras";
const COLOURS = { person: "#4fcf95", hand: "#ffd23f", bin: "#8fbdf5", pick: "#ff9a94", put_back: "#ffd23f", label: "#06281a" };

class StaffCameras extends View {
  static properties = { chosen: { state: true }, state: { state: true } };

  constructor() {
    super();
    this.list = new Loaded(this, async () => /** @type {Camera[]} */ ((await get("/v1/cameras")).items));
    /** @type {string[]} */
    this.chosen = [];
    /** @type {"open" | "lost" | "ended" | ""} */
    this.state = "";
    /** @type {import("../common/api.js").Problem | undefined} */
    this.problem = undefined;
    /** @type {FrameStream | undefined} */
    this.stream = undefined;
    /** Newest record that waits to be drawn, by camera: what came before it is not worth drawing any more. @type {Map<string, import("./frames.js").FrameRecord>} */
    this.next = new Map();
    /** @type {Set<string>} */
    this.drawing = new Set();
    /** @type {Map<string, number>} */
    this.latency = new Map();
  }

  connectedCallback() {
    super.connectedCallback();
    void this.#first();
    document.addEventListener("visibilitychange", this.#seen);
    this.timer = setInterval(() => {
      if (!document.hidden) void this.list.load();
    }, LOOK_EVERY_MS);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    document.removeEventListener("visibilitychange", this.#seen);
    this.stream?.close();
    clearInterval(this.timer);
  }

  // A page that nobody sees asks for no pictures.
  #seen = () => this.#follow();

  async #first() {
    await this.list.load();
    const there = (this.list.value ?? []).map((each) => each.camera_id);
    /** @type {string[]} */
    let kept = [];
    try {
      kept = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    } catch {
      // Whatever it was, it is no choice of cameras.
    }
    const known = kept.filter((each) => there.includes(each));
    this.#choose(known.length ? known : there.slice(0, MOST_AT_ONCE));
  }

  /** @param {string[]} cameras */
  #choose(cameras) {
    this.chosen = cameras.slice(0, MOST_AT_ONCE);
    localStorage.setItem(KEY, JSON.stringify(this.chosen));
    this.#follow();
  }

  #follow() {
    this.stream?.close();
    this.stream = undefined;
    this.next.clear();
    this.latency.clear();
    this.state = "";
    this.problem = undefined;
    if (!this.chosen.length || document.hidden || !this.isConnected) return;
    this.stream = new FrameStream(
      this.chosen,
      (record) => {
        this.next.set(record.seen.camera_id, record);
        void this.#draw(record.seen.camera_id);
      },
      (state, problem) => {
        this.state = state;
        this.problem = problem;
      },
      FPS,
    );
  }

  /** @param {string} camera */
  async #draw(camera) {
    if (this.drawing.has(camera)) return;
    this.drawing.add(camera);
    try {
      for (let record = this.next.get(camera); record; record = this.next.get(camera)) {
        this.next.delete(camera);
        const bitmap = await createImageBitmap(new Blob([record.jpeg], { type: "image/jpeg" }));
        const canvas = /** @type {HTMLCanvasElement | null} */ (this.querySelector(`canvas[data-camera="${CSS.escape(camera)}"]`));
        if (canvas) {
          drawFrame(canvas, bitmap, record.seen, COLOURS);
          canvas.dataset.capturedAt = record.seen.captured_at;
          // How late the store was when it sent it, and how long it then took to come and be drawn, both by one clock each.
          const way_s = Math.max(0, (Date.now() - Date.parse(record.seen.sent_at)) / 1000);
          this.#late(camera, record.seen.latency_s + (way_s < 60 ? way_s : 0), record.seen.people.length);
        }
        bitmap.close();
      }
    } catch (error) {
      // One broken picture; the next one is on its way.
      console.warn(error);
    } finally {
      this.drawing.delete(camera);
    }
  }

  /** @param {string} camera @param {number} latency_s @param {number} people */
  #late(camera, latency_s, people) {
    const before = this.latency.get(camera);
    const shown = before === undefined ? latency_s : before * 0.8 + latency_s * 0.2;
    this.latency.set(camera, shown);
    const place = this.querySelector(`[data-latency="${CSS.escape(camera)}"]`);
    if (place) place.textContent = `${t("floor.latency", { ms: Math.round(shown * 1000) })} · ${t("cameras.people", { n: people })}`;
  }

  render() {
    return html`<div class="view">
      <div class="row spread"><h1>${t("nav.cameras")}</h1>
        <span role="status" class="small">${this.state === "lost" || this.state === "ended" ? html`<span class="badge warn" data-test="lost">${this.problem?.text ?? t("connection.lost")}</span>` : nothing}</span></div>
      ${this.list.show((cameras) => (cameras.length ? this.#cameras(cameras) : empty(t("cameras.none"))))}
    </div>`;
  }

  /** @param {Camera[]} cameras */
  #cameras(cameras) {
    const full = this.chosen.length >= MOST_AT_ONCE;
    return html`<div class="pictures" data-count=${this.chosen.length} data-test="pictures">
        ${this.chosen.length ? nothing : empty(t("cameras.choose", { most: MOST_AT_ONCE }))}
        ${this.chosen.map(
          (id) =>
            html`<figure class="card" data-test="camera" data-camera=${id}>
              <canvas data-camera=${id} width="640" height="360" role="img" aria-label=${t("floor.camera", { camera: id })}></canvas>
              <figcaption class="row spread small"><strong><bdi>${id}</bdi></strong><span class="numbers muted" data-latency=${id} data-test="camera-latency">${t("cameras.waiting")}</span></figcaption>
            </figure>`,
        )}
      </div>
      <section class="card" aria-labelledby="all-cameras">
        <h2 id="all-cameras">${t("cameras.all")}</h2>
        <ul class="lines">
          ${cameras.map((each) => {
            const on = this.chosen.includes(each.camera_id);
            return html`<li data-test="camera-health" data-camera=${each.camera_id}>
              <label class="row grow check"><input type="checkbox" data-test="camera-choice" .checked=${on} ?disabled=${!on && full}
                @change=${() => this.#choose(on ? this.chosen.filter((id) => id !== each.camera_id) : [...this.chosen, each.camera_id])} />
                <bdi>${each.camera_id}</bdi></label>
              <span class="small muted">${each.resolution_wh ? html`<bdi class="numbers">${each.resolution_wh.map((side) => number(side, { useGrouping: false })).join(" × ")}</bdi> · ` : nothing}${each.last_frame_at ? t("cameras.last", { ago: ago(each.last_frame_at) }) : t("cameras.no_picture")}</span>
              ${each.notice ? html`<span class="badge warn" dir="auto">${each.notice}</span>` : nothing}
              <span class="badge ${each.healthy ? "good" : "bad"}" title=${each.detail}>${t(each.healthy ? "cameras.healthy" : "cameras.ill")}</span>
            </li>`;
          })}
        </ul>
      </section>`;
  }
}
customElements.define("staff-cameras", StaffCameras);
