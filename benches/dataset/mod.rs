//! Databases in the shape of agentic-qe 3.x, of any size, always the same bytes.

use std::path::Path;

use rusqlite::{Connection, Result, params};

/// Eight tables of the 3.x schema, as the tool creates them.
const SCHEMA: &str = "
PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;
CREATE TABLE qe_patterns (id TEXT PRIMARY KEY, pattern_type TEXT NOT NULL, qe_domain TEXT NOT NULL, domain TEXT NOT NULL,
  name TEXT NOT NULL, description TEXT, confidence REAL, usage_count INTEGER, success_rate REAL, quality_score REAL,
  tier TEXT, template_json TEXT, context_json TEXT, created_at TEXT, updated_at TEXT, last_used_at TEXT,
  successful_uses INTEGER, reusable INTEGER, reuse_count INTEGER);
CREATE TABLE qe_pattern_embeddings (pattern_id TEXT PRIMARY KEY, embedding BLOB NOT NULL, dimension INTEGER NOT NULL,
  model TEXT, created_at TEXT);
CREATE TABLE kv_store (key TEXT NOT NULL, namespace TEXT NOT NULL, value TEXT NOT NULL, expires_at INTEGER,
  created_at INTEGER, PRIMARY KEY (namespace, key));
CREATE TABLE sona_patterns (id TEXT PRIMARY KEY, type TEXT NOT NULL, domain TEXT NOT NULL, state_embedding BLOB,
  action_embedding BLOB, action_type TEXT NOT NULL, action_value TEXT, outcome_reward REAL, outcome_success INTEGER,
  outcome_quality REAL, confidence REAL, usage_count INTEGER, success_count INTEGER, failure_count INTEGER,
  metadata TEXT, created_at TEXT, updated_at TEXT, last_used_at TEXT);
CREATE TABLE rl_q_values (id TEXT PRIMARY KEY, algorithm TEXT NOT NULL, agent_id TEXT NOT NULL, state_key TEXT NOT NULL,
  action_key TEXT NOT NULL, q_value REAL, visits INTEGER, last_reward REAL, domain TEXT, created_at TEXT,
  updated_at TEXT, UNIQUE (algorithm, agent_id, state_key, action_key));
CREATE TABLE captured_experiences (id TEXT PRIMARY KEY, task TEXT NOT NULL, agent TEXT NOT NULL, domain TEXT NOT NULL,
  success INTEGER, quality REAL, duration_ms INTEGER, model_tier INTEGER, routing_json TEXT, steps_json TEXT,
  result_json TEXT, error TEXT, started_at TEXT, completed_at TEXT, source TEXT);
CREATE TABLE routing_outcomes (id TEXT PRIMARY KEY, task_json TEXT NOT NULL, decision_json TEXT NOT NULL,
  used_agent TEXT NOT NULL, followed_recommendation INTEGER, success INTEGER, quality_score REAL, duration_ms REAL,
  error TEXT, created_at TEXT);
CREATE TABLE goap_plans (id TEXT PRIMARY KEY, goal_id TEXT, initial_state TEXT NOT NULL, goal_state TEXT NOT NULL,
  action_sequence TEXT NOT NULL, total_cost REAL, estimated_duration_ms INTEGER, status TEXT, reused_from TEXT,
  similarity_score REAL, created_at TEXT, executed_at TEXT, completed_at TEXT);
";

/// `SplitMix64` (<https://prng.di.unimi.it/splitmix64.c>): the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn id(&mut self, prefix: &str) -> String {
        format!("{prefix}-{:016x}{:08x}", self.next(), self.next() >> 32)
    }

    #[expect(clippy::cast_possible_truncation, reason = "embeddings are float32")]
    fn embedding(&mut self) -> Vec<u8> {
        (0..384).flat_map(|_| (self.fraction() as f32 - 0.5).to_le_bytes()).collect()
    }

    fn time(&mut self) -> String {
        let (day, hour, minute, second) = (self.below(28) + 1, self.below(24), self.below(60), self.below(60));
        format!("2026-05-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

const DOMAINS: [&str; 6] = [
    "test-generation",
    "coverage-analysis",
    "quality-assessment",
    "defect-intelligence",
    "chaos-resilience",
    "security",
];

/// How many per cent of the records are patterns, memories, SONA patterns, Q-values,
/// experiences, routing outcomes and plans.
pub(crate) type Shares = [u64; 7];

/// Fills a new database with about `rows` records of eight streams.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(path: &Path, rows: u64, shares: Shares) -> Result<()> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch(SCHEMA)?;
    let transaction = connection.transaction()?;
    let mut random = Random(42);
    let [patterned, remembered, adapted, valued, experienced, routed, planned] =
        shares.map(|percent| rows * percent / 100);
    patterns(&transaction, &mut random, patterned)?;
    memories(&transaction, &mut random, remembered)?;
    sona(&transaction, &mut random, adapted)?;
    q_values(&transaction, &mut random, valued)?;
    experiences(&transaction, &mut random, experienced)?;
    routing(&transaction, &mut random, routed)?;
    plans(&transaction, &mut random, planned)?;
    transaction.commit()?;
    connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
}

fn domain(random: &mut Random) -> &'static str {
    DOMAINS[usize::try_from(random.below(6)).unwrap_or(0)]
}

fn patterns(connection: &Connection, random: &mut Random, rows: u64) -> Result<()> {
    let mut insert = connection.prepare(
        "INSERT INTO qe_patterns VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 'short-term', ?10, ?11, ?12, ?13, NULL, ?14, 0, 0)",
    )?;
    let mut embed =
        connection.prepare("INSERT INTO qe_pattern_embeddings VALUES (?1, ?2, 384, 'all-MiniLM-L6-v2', ?3)")?;
    for number in 0..rows {
        let (id, name, time) = (random.id("pattern"), format!("cache pattern {number}"), random.time());
        insert.execute(params![
            id,
            "unit-test",
            domain(random),
            name,
            format!("Pattern for cache {number}: retries and boundary values"),
            random.fraction(),
            i64::try_from(random.below(50)).unwrap_or(0),
            random.fraction(),
            random.fraction(),
            format!(r#"{{"type":"code","content":"describe('case {number}', () => {{}})","variables":[]}}"#),
            r#"{"language":"typescript","framework":"vitest","tags":["cache","unit"]}"#,
            time,
            time,
            i64::try_from(random.below(20)).unwrap_or(0),
        ])?;
        if random.below(100) < 80 {
            embed.execute(params![id, random.embedding(), time])?;
        }
    }
    Ok(())
}

fn memories(connection: &Connection, random: &mut Random, rows: u64) -> Result<()> {
    let mut insert = connection.prepare("INSERT INTO kv_store VALUES (?1, 'qe-kernel', ?2, NULL, ?3)")?;
    for number in 0..rows {
        let value = format!(r#"{{"module":"{}","coverage":{},"run":{number}}}"#, domain(random), random.below(100));
        insert.execute(params![
            format!("coverage:k{number}"),
            value,
            1_795_354_751_000_i64 + i64::try_from(number).unwrap_or(0)
        ])?;
    }
    Ok(())
}

fn sona(connection: &Connection, random: &mut Random, rows: u64) -> Result<()> {
    let mut insert = connection.prepare(
        "INSERT INTO sona_patterns VALUES (?1, 'coverage-optimization', ?2, ?3, NULL, 'generate', ?4, ?5, 1, ?6, ?7, 3, 2, 1, NULL, ?8, ?8, NULL)",
    )?;
    for number in 0..rows {
        insert.execute(params![
            random.id("qesona"),
            domain(random),
            random.embedding(),
            format!(r#"{{"n":{number}}}"#),
            random.fraction(),
            random.fraction(),
            random.fraction(),
            random.time(),
        ])?;
    }
    Ok(())
}

fn q_values(connection: &Connection, random: &mut Random, rows: u64) -> Result<()> {
    let mut insert = connection.prepare(
        "INSERT INTO rl_q_values VALUES (?1, 'q-learning', ?2, ?3, 'default:0.5:exponential', ?4, ?5, ?6, ?7, ?8, ?8)",
    )?;
    for number in 0..rows {
        insert.execute(params![
            random.id("q"),
            format!("agent-{}", random.below(40)),
            format!("0.5,0,0,0.3,1,{number}"),
            random.fraction(),
            i64::try_from(random.below(400)).unwrap_or(0),
            random.fraction(),
            domain(random),
            random.time(),
        ])?;
    }
    Ok(())
}

fn experiences(connection: &Connection, random: &mut Random, rows: u64) -> Result<()> {
    let mut insert = connection.prepare(
        "INSERT INTO captured_experiences VALUES (?1, ?2, 'qe-test-generator', ?3, 1, ?4, ?5, 2, '{}', ?6, '{\"ok\":true}', NULL, ?7, ?7, 'middleware')",
    )?;
    for number in 0..rows {
        insert.execute(params![
            random.id("exp"),
            format!("generate tests for module {number}"),
            domain(random),
            random.fraction(),
            i64::try_from(random.below(9_000)).unwrap_or(0),
            format!(r#"[{{"action":"read","file":"src/m{number}.ts"}},{{"action":"write"}}]"#),
            random.time(),
        ])?;
    }
    Ok(())
}

fn routing(connection: &Connection, random: &mut Random, rows: u64) -> Result<()> {
    let mut insert = connection.prepare(
        "INSERT INTO routing_outcomes VALUES (?1, ?2, '{\"recommended\":\"coder\",\"confidence\":0.8}', 'coder', 1, 1, ?3, ?4, NULL, ?5)",
    )?;
    for number in 0..rows {
        insert.execute(params![
            random.id("route"),
            format!(r#"{{"description":"fix issue {number}"}}"#),
            random.fraction(),
            random.fraction() * 1e4,
            random.time(),
        ])?;
    }
    Ok(())
}

fn plans(connection: &Connection, random: &mut Random, rows: u64) -> Result<()> {
    let mut insert = connection.prepare(
        "INSERT INTO goap_plans VALUES (?1, NULL, '{\"coverage\":{\"line\":40}}', '{\"coverage\":{\"line\":80}}', ?2, 2.5, 1000, 'completed', NULL, NULL, ?3, NULL, NULL)",
    )?;
    for _ in 0..rows {
        let sequence = format!(r#"["{}","{}"]"#, random.id("action"), random.id("action"));
        insert.execute(params![random.id("plan"), sequence, random.time()])?;
    }
    Ok(())
}
