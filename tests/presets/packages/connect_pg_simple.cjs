// Runs with the packages in .venv-stores/node: express-session's store on PostgreSQL.
const session = require("express-session");
const { Pool } = require("pg");
const Store = require("connect-pg-simple")(session);

const url = new URL(process.argv[3].replace("@/", "@localhost/"));
const pool = new Pool({
  host: url.searchParams.get("host"),
  port: Number(url.searchParams.get("port")),
  user: url.username,
  database: url.pathname.slice(1),
});
const store = new Store({ pool, createTableIfMissing: true, pruneSessionInterval: false });
const call = (name, ...args) =>
  new Promise((done, fail) => store[name](...args, (error, value) => (error ? fail(error) : done(value))));

async function main() {
  if (process.argv[2] === "write") {
    for (let number = 0; number < 20; number += 1) {
      const expires = new Date(Date.now() + (number - 9.5) * 3600 * 1000);
      await call("set", `s${number}`, { cookie: { expires }, n: number });
    }
  } else {
    const count = async () => Number((await pool.query("SELECT count(*) AS n FROM session")).rows[0].n);
    const before = await count();
    await call("pruneSessions");
    console.log("Session", before, before - (await count()));
  }
  store.close();
  await pool.end();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
