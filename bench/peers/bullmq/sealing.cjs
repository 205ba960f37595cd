// AES-256-GCM with a fresh nonce a value, bound to its owner by the associated data; base64, since jobs are JSON.
const { createCipheriv, createDecipheriv, createSecretKey, randomFillSync } = require("node:crypto");

const ALGORITHM = "aes-256-gcm";
const NONCE_BYTES = 12;
const TAG_BYTES = 16;
const key = createSecretKey(Buffer.from(process.env.BENCH_KEY, "base64"));

// Random bytes are drawn for many nonces at once.
const pool = Buffer.alloc(NONCE_BYTES * 1024);
let used = pool.length;

function nonce() {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += NONCE_BYTES;
  return Buffer.from(pool.subarray(used - NONCE_BYTES, used));
}

function seal(owner, text) {
  const fresh = nonce();
  const cipher = createCipheriv(ALGORITHM, key, fresh);
  cipher.setAAD(Buffer.from(owner));
  const sealed = [fresh, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()];
  return Buffer.concat(sealed).toString("base64");
}

function open(owner, sealed) {
  const bytes = Buffer.from(sealed, "base64");
  const cipher = createDecipheriv(ALGORITHM, key, bytes.subarray(0, NONCE_BYTES));
  cipher.setAAD(Buffer.from(owner));
  cipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  return cipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES), undefined, "utf8") + cipher.final("utf8");
}

module.exports = { open, seal };
