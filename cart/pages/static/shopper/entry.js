/**
 * Entry codes, made on this device without a network; cart/entry_codes.py says how one is made. The secret is kept as a key
 * that cannot be read out again, so that nobody who gets at the page's storage can carry it away.
 */
import { request, send } from "../common/api.js";

/** @typedef {{account_id: string, key_id: string, store_id: string, step_s: number, key: CryptoKey}} EntryKey */

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const PURPOSE = new TextEncoder().encode("tillfree entry code 1");
const SIGNATURE_BYTES = 18;
const OFFSET = "tillfree.clock";

/** Whether this browser can make codes by itself; it can only where the page came over a safe connection. */
export function canMakeCodes() {
  return globalThis.crypto?.subtle !== undefined && globalThis.indexedDB !== undefined;
}

/**
 * Do something with the place where keys are kept.
 * @param {IDBTransactionMode} mode @param {(store: IDBObjectStore) => IDBRequest} act @returns {Promise<any>}
 */
function kept(mode, act) {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open("tillfree", 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore("entry-keys", { keyPath: "account_id" });
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const database = opening.result;
      const transaction = database.transaction("entry-keys", mode);
      const asked = act(transaction.objectStore("entry-keys"));
      transaction.oncomplete = () => {
        database.close();
        resolve(asked.result);
      };
      transaction.onerror = transaction.onabort = () => {
        database.close();
        reject(transaction.error);
      };
    };
  });
}

/** The device's key for an account; it is fetched once. @param {string} account_id @returns {Promise<EntryKey>} */
export async function entryKey(account_id) {
  const known = await kept("readonly", (store) => store.get(account_id));
  if (known) return known;
  const issued = await send("POST", "/v1/entry-keys");
  const secret = Uint8Array.from(issued.secret.match(/../g), (/** @type {string} */ pair) => parseInt(pair, 16));
  const key = await crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const made = { account_id, key_id: issued.key_id, store_id: issued.store_id, step_s: issued.step_s, key };
  await kept("readwrite", (store) => store.put(made));
  return made;
}

/** Give the device's key up here. @param {string} account_id @returns {Promise<EntryKey | undefined>} The key, if there was one. */
export async function forgetEntryKey(account_id) {
  if (!canMakeCodes()) return undefined;
  const known = await kept("readonly", (store) => store.get(account_id));
  if (known) await kept("readwrite", (store) => store.delete(account_id));
  return known;
}

/** Give the device's key up, here and at the store if it can be reached. @param {string} account_id */
export async function dropEntryKey(account_id) {
  const known = await forgetEntryKey(account_id);
  // Without its secret the key is worth nothing to anybody; a store out of reach may keep it.
  if (known) await send("DELETE", `/v1/entry-keys/${known.key_id}`).catch(() => undefined);
}

/** The store's time now, as far as this device knows, milliseconds since 1970. */
export function storeNow() {
  return Date.now() + Number(localStorage.getItem(OFFSET) ?? 0);
}

/** Compare this device's clock with the store's, which codes are checked against. */
export async function setClock() {
  const asked = Date.now();
  const answer = await (await request("GET", "/v1/store")).json();
  const offset = Date.parse(answer.now) - (asked + Date.now()) / 2;
  localStorage.setItem(OFFSET, String(Math.round(offset)));
}

/**
 * Make the code of a moment.
 * @param {EntryKey} entry @param {number} at_ms By the store's clock. @param {number} counter 0 to 255; each gives another code.
 */
export async function makeCode(entry, at_ms, counter) {
  const name = new TextEncoder().encode(entry.store_id);
  const signed = new Uint8Array(17);
  const view = new DataView(signed.buffer);
  signed.set(new Uint8Array(await crypto.subtle.digest("SHA-256", name)).subarray(0, 4));
  signed.set(
    (entry.key_id.match(/../g) ?? []).map((pair) => parseInt(pair, 16)),
    4,
  );
  view.setUint32(12, Math.floor(at_ms / 1000 / entry.step_s));
  view.setUint8(16, counter);
  const message = new Uint8Array(PURPOSE.length + 4 + name.length + signed.length);
  message.set(PURPOSE);
  new DataView(message.buffer).setUint32(PURPOSE.length, name.length);
  message.set(name, PURPOSE.length + 4);
  message.set(signed, PURPOSE.length + 4 + name.length);
  const signature = new Uint8Array(await crypto.subtle.sign("HMAC", entry.key, message)).subarray(0, SIGNATURE_BYTES);
  return `TF1:${base32([...signed, ...signature])}`;
}

/** RFC 4648, without padding. @param {number[]} bytes A multiple of five. */
function base32(bytes) {
  let text = "";
  let value = 0;
  let bits = 0;
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += LETTERS[(value >> bits) & 31];
    }
    value &= (1 << bits) - 1;
  }
  return text;
}
