// Posts 15 changes one by one, each under an Idempotency-Key of its own, until each has an answer.
// Prints a line per answer: the id of the job, and whether an earlier post had made it.
const [url, key, account] = process.argv.slice(2);

async function post(number) {
  const change = {
    account, action: "create", relationtype: "estate:address:buyer", parentid: 700 + number, childid: 9001, batch: "node",
  };
  const headers = {
    Authorization: `Bearer ${key}`, "Content-Type": "application/json", "Idempotency-Key": `node-${number}`, Prefer: "wait=5",
  };
  for (;;) {
    try {
      const answer = await fetch(`${url}/v1/changes`, { method: "POST", headers, body: JSON.stringify(change) });
      if (answer.ok) return (await answer.json()).jobs[0];
      if (answer.status < 500) throw new RangeError(await answer.text());
    } catch (fault) {
      if (fault instanceof RangeError) throw fault;
    }
    await new Promise((done) => setTimeout(done, 100));
  }
}

for (let number = 0; number < 15; number++) {
  const job = await post(number);
  console.log(job.id, job.duplicate);
}
