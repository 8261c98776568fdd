//! What a former life of the service left: jobs that go on, and those that it died of.

use super::id::now;
use super::store::{Change, JobStart, Record, Results, Store};
use crate::job::JobState;
use crate::problem::Problem;

/// Deaths, as [`weight`] counts them, after which a job is not begun again.
const DEADLY: u32 = 8;

/// How much a start that ended with the service's death counts. Before the first evaluation came back it counts much: two are
/// enough. Later the job may as well have been there by chance.
fn weight(start: JobStart) -> u32 {
    match start {
        JobStart::Waiting => 0,
        JobStart::Evaluated => 1,
        JobStart::Begun => DEADLY / 2,
    }
}

/// Whether a job may have been what the service died of. Nothing else is begun until it has been evaluated once, so that no
/// other job is blamed for its deed.
pub fn is_suspect(record: &Record) -> bool {
    record.deaths >= weight(JobStart::Begun)
}

/// The jobs that go on: suspects, so that whether the service dies of them is known before others have waited for it, then
/// the oldest first. The deaths of the last life are counted in the store before any is begun.
///
/// # Errors
/// A store that cannot be used.
pub fn revive(store: &Store) -> Result<Vec<Record>, String> {
    let mut all = Vec::new();
    for mut record in store.unfinished()? {
        record.job.state = JobState::Queued;
        let deaths = weight(std::mem::take(&mut record.start));
        record.deaths += deaths;
        if record.deaths >= DEADLY {
            let detail = "the service died each time this job was begun (twice before its first evaluation, or eight times \
                          at all), so it is not begun again; ask for fewer or smaller pictures";
            record.job.state = JobState::Failed;
            record.job.finished = Some(now());
            record.job.error = Some(Problem { code: "deadly".into(), ..Problem::internal(detail) });
        }
        if deaths > 0 {
            store.write(Change::Save(Box::new(record.clone()), Results::none()))?;
        }
        if record.job.state == JobState::Queued {
            all.push(record);
        }
    }
    all.sort_by_key(|record| !is_suspect(record));
    Ok(all)
}
