/**
 * Pictures of cameras with what was seen on them, as the store streams them: `application/vnd.tillfree.frames`, records
 * without end, each [u32 big-endian length][JSON, UTF-8][u32 big-endian length][JPEG]. Picture and overlay of a record
 * are of the same instant.
 */
import { Problem, request } from "../common/api.js";

/** @typedef {[number, number]} Pixel */
/** @typedef {{camera_id: string, captured_at: string, sent_at: string, latency_s: number, resolution_wh: [number, number], people: {identity_id: string, label: string, box_px: [number, number, number, number] | null, feet_px: Pixel | null, hands_px: Pixel[], is_hidden: boolean}[], bins: {bin_id: string, outline_px: Pixel[], kind: "touched" | "pick" | "put_back"}[]}} Seen */
/** @typedef {{seen: Seen, jpeg: Uint8Array<ArrayBuffer>}} FrameRecord */

export const LARGEST_PART = 16 * 1024 * 1024;
const LONGEST_PAUSE_MS = 10_000;

/** Cuts a stream of bytes into records, wherever its chunks end. */
export class FrameParser {
  /** @type {Uint8Array<ArrayBuffer>} */
  #rest = new Uint8Array(0);

  /**
   * @param {Uint8Array} chunk
   * @returns {FrameRecord[]} The records that are whole now.
   * @throws {RangeError} A length is beyond what a record may have: this is no such stream.
   */
  push(chunk) {
    const bytes = new Uint8Array(this.#rest.length + chunk.length);
    bytes.set(this.#rest);
    bytes.set(chunk, this.#rest.length);
    const view = new DataView(bytes.buffer);
    const found = [];
    let start = 0;
    for (;;) {
      const text = this.#part(view, start);
      const jpeg = text && this.#part(view, text.end);
      if (!jpeg) break;
      found.push({ seen: JSON.parse(new TextDecoder().decode(bytes.subarray(text.from, text.end))), jpeg: bytes.slice(jpeg.from, jpeg.end) });
      start = jpeg.end;
    }
    this.#rest = bytes.slice(start);
    return found;
  }

  /** @param {DataView} view @param {number} at */
  #part(view, at) {
    if (at + 4 > view.byteLength) return null;
    const length = view.getUint32(at);
    if (length > LARGEST_PART) throw new RangeError(`a part of ${length} bytes is no part of a frame`);
    const [from, end] = [at + 4, at + 4 + length];
    return end > view.byteLength ? null : { from, end };
  }
}

/** Follows cameras; it comes back by itself after a break, and says so. */
export class FrameStream {
  #abort = new AbortController();

  /**
   * @param {string[]} cameras
   * @param {(record: FrameRecord) => void} hear
   * @param {(state: "open" | "lost" | "ended", problem?: Problem) => void} tell
   * @param {number} [fps]
   */
  constructor(cameras, hear, tell, fps = 10) {
    this.path = `/v1/cameras/live?${new URLSearchParams([...cameras.map((each) => ["camera_id", each]), ["fps", String(fps)]])}`;
    this.hear = hear;
    this.tell = tell;
    void this.#run();
  }

  close() {
    this.#abort.abort();
  }

  async #run() {
    const { signal } = this.#abort;
    for (let failures = 0; !signal.aborted; ) {
      try {
        const answer = await request("GET", this.path, { headers: { accept: "application/vnd.tillfree.frames" }, signal });
        this.tell("open");
        const parser = new FrameParser();
        const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          failures = 0;
          for (const record of parser.push(value)) this.hear(record);
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof Problem && error.status >= 400 && error.status < 500 && error.status !== 429) {
          this.tell("ended", error);
          return;
        }
      }
      if (signal.aborted) return;
      this.tell("lost");
      await new Promise((resolve) => setTimeout(resolve, Math.min(500 * 2 ** failures++, LONGEST_PAUSE_MS)));
    }
  }
}

/**
 * Draw a record: its picture, and over it people, hands and bins.
 * @param {HTMLCanvasElement} canvas @param {ImageBitmap} bitmap @param {Seen} seen
 * @param {Record<"person" | "hand" | "bin" | "pick" | "put_back" | "label", string>} colours
 */
export function drawFrame(canvas, bitmap, seen, colours) {
  const [width, height] = seen.resolution_wh;
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.drawImage(bitmap, 0, 0);
  // What was seen is in pixels of the camera; the picture may have been made smaller.
  const scale = bitmap.width / width;
  pen.setTransform(scale, 0, 0, bitmap.height / height, 0, 0);
  const thin = Math.max(2, 2 / scale);
  for (const each of seen.bins) {
    pen.beginPath();
    each.outline_px.forEach(([x, y], index) => (index ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.lineWidth = thin;
    pen.strokeStyle = each.kind === "touched" ? colours.bin : colours[each.kind];
    pen.stroke();
  }
  pen.font = `bold ${14 / scale}px system-ui, sans-serif`;
  for (const each of seen.people) {
    pen.strokeStyle = pen.fillStyle = colours.person;
    pen.lineWidth = thin;
    // Behind shelves: known to be there, not to be seen.
    pen.setLineDash(each.is_hidden ? [4 * thin, 3 * thin] : []);
    if (each.box_px) {
      const [x1, y1, x2, y2] = each.box_px;
      pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
      const wide = pen.measureText(each.label).width + 10 / scale;
      const top = Math.max(0, y1 - 20 / scale);
      pen.fillRect(x1, top, wide, 20 / scale);
      pen.fillStyle = colours.label;
      pen.fillText(each.label, x1 + 5 / scale, top + 15 / scale);
    } else if (each.feet_px) {
      pen.beginPath();
      pen.ellipse(...each.feet_px, 12 / scale, 6 / scale, 0, 0, 2 * Math.PI);
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.fillStyle = colours.hand;
    for (const hand of each.hands_px) {
      pen.beginPath();
      pen.arc(...hand, 5 / scale, 0, 2 * Math.PI);
      pen.fill();
    }
  }
}
