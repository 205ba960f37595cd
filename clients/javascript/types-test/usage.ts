// What a plugin writes; checked by the TypeScript compiler, never run.
import { createApi, WebhookError, type Accepted, type NoAnswer, type Problem, type Result } from "../webhooks.js";

const api = createApi({ baseUrl: "https://relay.example", key: "whk_a_b" });

export async function everyCall(signal: AbortSignal): Promise<number> {
  const { referenceId, status, data, error }: Result = await api.webhooks.trigger("get-randomapi", null, {}, { pageNum: 1 });
  const typed = await api.webhooks.trigger<{ temperature: number }>("weather", { city: "Perth" }, { "X-Note": "hi" }, null, {
    signal,
    idempotencyKey: "order-7",
  });
  await api.webhooks.trigger("weather", null, new Headers({ "X-Note": "hi" }), new URLSearchParams("page=4"));
  const image = await api.webhooks.trigger("send-jpeg", new Blob([new Uint8Array(3)]));
  const later: Accepted = await api.webhooks.triggerAsync("remind", "text", null, null, { delay: 3600, subject: "4711" });
  const many: Array<Accepted | { problem: Problem }> = await api.webhooks.triggerMany([{ webhookId: "a", delay: 1, subject: "4711" }]);
  const accepted = many.filter((each): each is Accepted => "referenceId" in each).length;
  const record = await api.webhooks.get(referenceId);
  const names = (await api.webhooks.list()).map(({ id, payloadEncoding }) => `${id} ${payloadEncoding}`);
  await api.webhooks.wait(later.referenceId, { timeout: 1000 });
  return status + typed.data.temperature + image.status + accepted + record.attempts.length + names.length + (error ? data.code : 0);
}

export async function maySendAgain(referenceId: string): Promise<boolean> {
  const { status, data } = await api.webhooks.wait(referenceId);
  return status === 0 && (data as NoAnswer).sent === "no";
}

export function explain(error: unknown): string {
  if (!(error instanceof WebhookError)) throw error;
  return [error.code, error.message, error.referenceId ?? "", error.idempotencyKey ?? "", ...error.errors.map((f) => f.pointer)].join();
}

// @ts-expect-error a key has to be given
createApi({ baseUrl: "https://relay.example" });
// @ts-expect-error a header is text
void api.webhooks.trigger("a", null, { "X-Count": 1 });
// @ts-expect-error numbers are no data
void api.webhooks.trigger("a", 1);
// @ts-expect-error a state is one of nine words
export const state: Accepted["state"] = "done";
