// Copies what the package shares with the relay: the module that it serves at /webhooks.js, its types, and the licence.
import { copyFileSync } from "node:fs";

const here = new URL(".", import.meta.url);
copyFileSync(new URL("../../api/static/webhooks.js", here), new URL("webhooks.js", here));
copyFileSync(new URL("../../relay/declarations/webhooks.d.ts", here), new URL("webhooks.d.ts", here));
copyFileSync(new URL("../../LICENSE", here), new URL("LICENSE", here));
