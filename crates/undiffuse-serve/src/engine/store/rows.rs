//! What stands in the store's tables, and the changes to it, each within one transaction.

use std::collections::HashSet;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::age::Clocks;
use super::{Change, Record, Written};
use crate::job::JobState;

/// Id → [`Record`] as JSON.
pub const JOBS: TableDefinition<&str, &[u8]> = TableDefinition::new("jobs");
/// Id → state, milliseconds on the store's clock at its end (0 before), bytes of all that is stored for it.
pub const INDEX: TableDefinition<&str, (u8, u64, u64)> = TableDefinition::new("index");
/// Id and 0 (picture to start from) or 1 (mask) → PNG.
pub const INPUTS: TableDefinition<(&str, u32), &[u8]> = TableDefinition::new("inputs");
/// Id and number of the picture → PNG.
pub const IMAGES: TableDefinition<(&str, u32), &[u8]> = TableDefinition::new("images");
/// Id and number of the step → [`Frame`](crate::job::Frame) as JSON.
pub const FRAMES: TableDefinition<(&str, u32), &[u8]> = TableDefinition::new("frames");
/// Client and key → id of the job, hash of the request.
pub const KEYS: TableDefinition<(&str, &str), (&str, &str)> = TableDefinition::new("keys");
/// `clocks` → [`Clocks`] as JSON.
const FACTS: TableDefinition<&str, &[u8]> = TableDefinition::new("facts");

/// Whether a state in the index is one in which nothing changes any more.
pub fn is_final(state: u8) -> bool {
    [JobState::Done, JobState::Failed, JobState::Cancelled].iter().any(|s| *s as u8 == state)
}

/// Makes the tables that reading wants to find; bytes of all jobs, and what the clocks showed last.
///
/// # Errors
/// A store that cannot be written.
pub fn prepare(tx: &WriteTransaction) -> Result<(u64, Option<Clocks>), redb::Error> {
    tx.open_table(JOBS)?;
    tx.open_table(INPUTS)?;
    tx.open_table(IMAGES)?;
    tx.open_table(FRAMES)?;
    tx.open_table(KEYS)?;
    let total = tx.open_table(INDEX)?.iter()?.try_fold(0, |sum, row| Ok::<u64, redb::Error>(sum + row?.1.value().2))?;
    let clocks = tx.open_table(FACTS)?.get("clocks")?.and_then(|bytes| serde_json::from_slice(bytes.value()).ok());
    Ok((total, clocks))
}

/// Notes what the clocks show.
///
/// # Errors
/// A store that cannot be written.
pub fn note(tx: &WriteTransaction, clocks: &Clocks) -> Result<(), redb::Error> {
    let json = serde_json::to_vec(clocks).unwrap_or_default();
    tx.open_table(FACTS)?.insert("clocks", json.as_slice())?;
    Ok(())
}

/// Writes one change, at this time on the store's clock, and counts its bytes.
///
/// # Errors
/// A store that cannot be written.
pub fn apply(tx: &WriteTransaction, change: &Change, now: u64, total: &mut u64) -> Result<Written, redb::Error> {
    match change {
        Change::Submit(record, hash, inputs) => {
            if let Some(key) = &record.key {
                let mut keys = tx.open_table(KEYS)?;
                if let Some(known) = keys.get((record.client.as_str(), key.as_str()))? {
                    let (id, hash) = known.value();
                    return Ok(Written::Known(id.into(), hash.into()));
                }
                keys.insert((record.client.as_str(), key.as_str()), (record.job.id.as_str(), hash.as_str()))?;
            }
            let mut table = tx.open_table(INPUTS)?;
            let mut more = 0;
            for (number, png) in inputs.iter().enumerate().filter_map(|(k, png)| Some((k as u32, png.as_ref()?))) {
                table.insert((record.job.id.as_str(), number), png.as_slice())?;
                more += png.len();
            }
            save(tx, record, more as u64, now, total)?;
        }
        Change::Save(record, results) => {
            let id = record.job.id.as_str();
            // Forgotten in the meantime.
            if tx.open_table(INDEX)?.get(id)?.is_none() {
                return Ok(Written::Done);
            }
            let (mut table, mut more) = (tx.open_table(IMAGES)?, 0);
            for (number, png) in &results.images {
                table.insert((id, *number as u32), png.as_slice())?;
                more += png.len();
            }
            let mut table = tx.open_table(FRAMES)?;
            for frame in &results.frames {
                let json = serde_json::to_vec(&**frame).unwrap_or_default();
                table.insert((id, frame.row as u32), json.as_slice())?;
                more += json.len();
            }
            save(tx, record, more as u64, now, total)?;
        }
        Change::Delete(id) => *total -= forget(tx, id)?.min(*total),
        Change::Prune => {}
    }
    Ok(Written::Done)
}

/// Writes a record and its row of the index; `more` bytes were stored beside it.
fn save(tx: &WriteTransaction, record: &Record, more: u64, now: u64, total: &mut u64) -> Result<(), redb::Error> {
    let id = record.job.id.as_str();
    let json = serde_json::to_vec(record).unwrap_or_default();
    let old = tx.open_table(JOBS)?.insert(id, json.as_slice())?.map_or(0, |old| old.value().len() as u64);
    let mut index = tx.open_table(INDEX)?;
    let (ended, before) = index.get(id)?.map_or((0, 0), |row| (row.value().1, row.value().2));
    let bytes = (before + more + json.len() as u64).saturating_sub(old);
    let end = match record.job.state.is_final() {
        true if ended == 0 => now,
        true => ended,
        false => 0,
    };
    index.insert(id, (record.job.state as u8, end, bytes))?;
    *total = (*total + bytes).saturating_sub(before);
    Ok(())
}

/// Forgets a job and says how many bytes it was.
fn forget(tx: &WriteTransaction, id: &str) -> Result<u64, redb::Error> {
    let Some(bytes) = tx.open_table(INDEX)?.remove(id)?.map(|row| row.value().2) else { return Ok(0) };
    let record = tx.open_table(JOBS)?.remove(id)?.and_then(|b| serde_json::from_slice::<Record>(b.value()).ok());
    if let Some(Record { client, key: Some(key), .. }) = record {
        tx.open_table(KEYS)?.remove((client.as_str(), key.as_str()))?;
    }
    for table in [INPUTS, IMAGES, FRAMES] {
        tx.open_table(table)?.retain_in((id, 0)..=(id, u32::MAX), |_, _| false)?;
    }
    Ok(bytes)
}

/// What is to be forgotten.
pub struct Surplus<'a> {
    /// Bytes of all jobs.
    pub total: u64,
    /// Bytes that may be kept.
    pub most: u64,
    /// Jobs that ended by then are too old, on the store's clock.
    pub oldest: u64,
    /// The newest result of each client.
    pub newest: &'a HashSet<&'a str>,
}

/// Forgets jobs that ended too long ago, and of the others the oldest until the rest is small enough: first those after which
/// their client was given another, never the one that ended last. Says how many bytes are left, and which are gone.
///
/// # Errors
/// A store that cannot be written.
pub fn prune(tx: &WriteTransaction, surplus: &Surplus<'_>) -> Result<(u64, Vec<String>), redb::Error> {
    let mut ended = Vec::new();
    for row in tx.open_table(INDEX)?.iter()? {
        let (id, row) = row?;
        let (state, end, bytes) = row.value();
        if is_final(state) {
            ended.push((end, id.value().to_owned(), bytes));
        }
    }
    ended.sort_unstable();
    let (old, mut rest): (Vec<_>, Vec<_>) = ended.into_iter().partition(|(end, ..)| *end <= surplus.oldest);
    rest.pop();
    rest.sort_by_key(|(_, id, _)| surplus.newest.contains(id.as_str()));
    let (mut left, mut gone) = (surplus.total, Vec::new());
    for (_, id, bytes) in old {
        forget(tx, &id)?;
        left = left.saturating_sub(bytes);
        gone.push(id);
    }
    // Below the limit by some, so that the next picture does not bring everything here again.
    let most = if left > surplus.most { surplus.most / 8 * 7 } else { surplus.most };
    for (_, id, bytes) in rest {
        if left <= most {
            break;
        }
        forget(tx, &id)?;
        left = left.saturating_sub(bytes);
        gone.push(id);
    }
    Ok((left, gone))
}
