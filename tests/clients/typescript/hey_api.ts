// A client by hey-api: send, poll, replay; prints what became of it.
import { client } from "./made/hey_api/client.gen";
import * as api from "./made/hey_api";

const [url, key, account, missing] = process.argv.slice(2);
client.setConfig({ baseUrl: url, auth: key, throwOnError: true });
const pause = () => new Promise((done) => setTimeout(done, 50));

async function poll(id: string): Promise<api.JobDict> {
  for (;;) {
    const { data } = await api.getJob({ path: { id }, throwOnError: true });
    if (data.finished_at) return data;
    await pause();
  }
}

async function main(): Promise<void> {
  const change: api.Change = {
    account, action: "create", relationtype: "estate:address:buyer", parentid: 502, childid: [9001, Number(missing)],
  };
  const sent = await api.postChanges({
    body: [change], headers: { "Idempotency-Key": "hey-api" }, throwOnError: true,
  });
  const failed = await poll(sent.data.jobs[0].id);
  const body: api.ReplayForm = { account, jobs: [failed.id], set: { childid: 9002 } };
  const { data: replay } = await api.prepareReplay({ body, throwOnError: true });
  const path = { id: replay.id };
  await api.runReplay({ path, throwOnError: true });
  while ((await api.getReplay({ path, throwOnError: true })).data.state !== "done") await pause();
  const again = await poll((await poll(failed.id)).replayed_by[0]);
  const unknown = await api.getJob({ path: { id: `${account}-${"0".repeat(18)}` }, throwOnError: false });
  console.log(JSON.stringify({
    failed: [failed.state, failed.error?.childid, failed.relations.applied],
    plan: replay.plan.creates,
    again: [again.state, again.childid],
    unknown: unknown.error?.status,
  }));
}

main().catch((fault) => { console.error(fault); process.exit(1); });
