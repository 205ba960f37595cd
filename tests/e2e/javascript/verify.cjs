// Verifies signed calls with the standardwebhooks package: standard input is [{secret, headers, body}], body as base64.
// Prints for each whether it is good, or the reason why it is not. NODE_PATH says where the package is.
"use strict";
const { Webhook } = require("standardwebhooks");

const calls = JSON.parse(require("fs").readFileSync(0, "utf8"));
const verdicts = calls.map(({ secret, headers, body }) => {
  try {
    new Webhook(secret).verify(Buffer.from(body, "base64").toString("utf8"), headers);
    return "good";
  } catch (error) {
    return error.message;
  }
});
process.stdout.write(JSON.stringify(verdicts));
