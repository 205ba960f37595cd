// Takes secrets and the endpoint's address out of answers: one compiled expression of every form that the relay looks for
// (raw, percent, HTML, hex, base64 at three alignments), on the whole text and again on every string and key.
const SHORTEST = 8;

function forms(secret) {
  const bytes = Buffer.from(secret);
  const percent = [...bytes].map((byte) => "%" + byte.toString(16).padStart(2, "0")).join("");
  const found = [secret, encodeURIComponent(secret), percent, percent.toUpperCase(), bytes.toString("hex")];
  found.push(bytes.toString("hex").toUpperCase(), secret.replace(/[&<>"']/g, (sign) => `&#${sign.charCodeAt(0)};`));
  for (const skipped of [0, 1, 2]) {
    const shifted = Buffer.concat([Buffer.alloc(skipped), bytes]).toString("base64");
    // The characters at both ends depend on the text beside the secret.
    const inner = shifted.slice(skipped ? 4 : 0, -4);
    found.push(inner, inner.replaceAll("+", "-").replaceAll("/", "_"));
  }
  return found;
}

function masker(secrets) {
  const tokens = secrets.flatMap((secret) => [secret, secret.split(" ").at(-1)]);
  const needles = [...new Set(tokens.flatMap(forms))].filter((needle) => needle.length >= SHORTEST);
  needles.sort((one, other) => other.length - one.length);
  const expression = new RegExp(needles.map((needle) => needle.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|"), "g");
  const clean = (text) => text.replace(expression, "[redacted]");

  function walk(value) {
    if (typeof value === "string") return clean(value);
    if (Array.isArray(value)) return value.map(walk);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([name, each]) => [clean(name), walk(each)]));
  }

  return (text) => walk(JSON.parse(clean(text)));
}

module.exports = { masker };
