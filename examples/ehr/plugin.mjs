// The same plugin in JavaScript, with the client that the relay serves.
const { RELAY_URL: baseUrl, RELAY_KEY: key } = process.env;
const source = await (await fetch(`${baseUrl}/webhooks.js`)).text();
const { createApi } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
const { trigger } = createApi({ baseUrl, key }).webhooks;

let { status, error, data } = await trigger("read-patient", null, {}, {}, { pathParams: { patient: "4711" }, subject: "4711" });
console.log("JavaScript: read-patient:", status, ...data.name[0].given, data.name[0].family, data.meta.source);

({ status, data } = await trigger("search-observations", null, {}, { patient: "4711", code: "8867-4" }, { subject: "4711" }));
console.log("JavaScript: search-observations:", status, JSON.stringify(data.entry.map((entry) => entry.resource.valueQuantity.value)));

const form = new FormData();
form.append("title", "Referral");
form.append("file", new Blob([Uint8Array.from([0x25, 0x50, 0x44, 0x46, 0, 0xff])], { type: "application/pdf" }), "referral.pdf");
({ status, data } = await trigger("file-document", form, {}, {}, { pathParams: { patient: "4711" }, subject: "4711" }));
const { title, contentType, size } = data.content[0].attachment;
console.log("JavaScript: file-document:", status, title, contentType, size);

({ status, error, data } = await trigger("read-patient", null, {}, {}, { pathParams: { patient: "4712" } }));
console.log("JavaScript: read-patient:", status, error, data.issue[0].code);

await trigger("read-patient", null, {}, {}, { pathParams: { patient: "../Practitioner" } }).catch((refused) => {
  console.log("JavaScript: read-patient:", refused.code, refused.errors[0].pointer);
});
