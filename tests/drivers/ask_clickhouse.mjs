// Asks the questions of test_drivers.py with @clickhouse/client; prints one line of JSON a round.
import { createClient } from '@clickhouse/client'

const [port, token, asked] = process.argv.slice(2)
const ask = JSON.parse(asked)
const rounds = { plain: {}, gzip: { response: true }, 'gzip both ways': { response: true, request: true } }

function open(compression, password) {
  return createClient({
    url: `http://127.0.0.1:${port}`, username: 'default', password, database: 'tokenwire', compression,
    clickhouse_settings: { max_execution_time: 600 }, log: { level: 127 },
  })
}

async function codeOf(client, query) {
  try {
    await client.query({ query, format: 'JSONEachRow' })
    return -1
  } catch (error) {
    return Number(error.code)
  }
}

for (const [round, compression] of Object.entries(rounds)) {
  const client = open(compression, token)
  const rows = async (query, format, more = {}) => (await client.query({ query, format, ...more })).json()
  if (!(await client.ping()).success) throw new Error('no ping')
  const [count] = await rows(ask.Count, 'JSONCompactEachRow', { query_params: { user: 'ann' } })
  const [row] = await rows(ask.Row, 'JSONCompactEachRow')
  let [sum, letters] = [0, 0]
  for await (const lines of (await client.query({ query: ask.Many, format: 'JSONCompactEachRow' })).stream()) {
    for (const line of lines) {
      const [number, text] = line.json()
      sum += Number(number)
      letters += text.length
    }
  }
  const types = await rows(ask.Types, 'JSONCompactEachRow')
  const codes = []
  for (const wrong of ask.Wrong) codes.push(await codeOf(client, wrong))
  const stranger = open(compression, 'another')
  console.log(JSON.stringify({
    round, count: Number(count[0]), row, many: [sum, letters], types: [types.length, types.at(-1).at(-1)], codes,
    stranger: await codeOf(stranger, 'SELECT 1'),
  }))
  await Promise.all([client.close(), stranger.close()])
}
