// Types by openapi-typescript, calls by openapi-fetch: send, poll, replay; prints what became of it.
import createClient from "openapi-fetch";
import type { components, paths } from "./made/openapi_typescript";

type Job = components["schemas"]["JobDict"];

const [url, key, account, missing] = process.argv.slice(2);
const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });
const pause = () => new Promise((done) => setTimeout(done, 50));

async function poll(id: string): Promise<Job> {
  for (;;) {
    const { data, error } = await client.GET("/v1/jobs/{id}", { params: { path: { id } } });
    if (!data) throw new Error(error.detail);
    if (data.finished_at) return data;
    await pause();
  }
}

async function main(): Promise<void> {
  const change: components["schemas"]["Change"] = {
    account, action: "create", relationtype: "estate:address:buyer", parentid: 501, childid: [9001, Number(missing)],
  };
  const sent = await client.POST("/v1/changes", {
    body: [change], params: { header: { "Idempotency-Key": "openapi-typescript" } },
  });
  if (!sent.data) throw new Error(sent.error.detail);
  const failed = await poll(sent.data.jobs[0].id);
  const prepared = await client.POST("/v1/replays", { body: { account, jobs: [failed.id], set: { childid: 9002 } } });
  if (!prepared.data) throw new Error(prepared.error.detail);
  const path = { id: prepared.data.id };
  await client.POST("/v1/replays/{id}/run", { params: { path } });
  while ((await client.GET("/v1/replays/{id}", { params: { path } })).data?.state !== "done") await pause();
  const again = await poll((await poll(failed.id)).replayed_by[0]);
  const unknown = await client.GET("/v1/jobs/{id}", { params: { path: { id: `${account}-${"0".repeat(18)}` } } });
  console.log(JSON.stringify({
    failed: [failed.state, failed.error?.childid, failed.relations.applied],
    plan: prepared.data.plan.creates,
    again: [again.state, again.childid],
    unknown: unknown.error?.status,
  }));
}

main().catch((fault) => { console.error(fault); process.exit(1); });
