//! Deciding from the clock how long a stretch with a budget is.

use std::time::Instant;

use super::TrainError;
use super::clock::Clock;
use super::config::IMAGES_MAX;
use super::length::{Decision, Segment};
use crate::run::RunFolder;

/// Steps of a life of the program, and seconds of them, before it decides for the first time.
const STEPS: u32 = 4;
const SECONDS: f64 = 3.0;
/// A decision comes when this share of what was left at the last one is over, but not sooner than after so many seconds.
const OFTEN: f64 = 0.1;
const SOON: f64 = 1.0;
/// What an older speed counts at each decision.
const MEMORY: f64 = 0.5;
/// The largest share of a budget for grids of samples and validation, if that is enough for one.
const PREVIEWS: f64 = 0.15;
/// Share of a budget that a run may lose when it is killed, and the largest share that saving may take.
const LOST: f64 = 1.0 / 50.0;
const SAVING: f64 = 1.0 / 30.0;
/// Share of a budget in which even a late run lets its learning rate fall to the end, where a tenth of the fall is left.
const TAIL: f64 = 1.0 / 50.0;
/// Steps that a whole fall takes at least: the last ones of a late run are not one.
const FALL: f64 = 30.0;

/// A stretch with a budget, and what its steps and pauses have been seen to take in this life of the program.
pub(super) struct Pace {
    /// Which stretch of the run it is.
    pub stretch: usize,
    clock: Clock,
    /// Steps of this life.
    steps: u32,
    /// Seconds and pictures of the last steps, older ones for less.
    recent: (f64, f64),
    /// When the steps that are not in `recent` yet began, and their pictures.
    since: (Instant, u64),
    /// When it was last decided, by the stretch's clock.
    decided: f64,
    /// What a grid of samples and its validation take, in pictures that are trained on in that time: who slows the machine down
    /// slows both.
    grid: Option<f64>,
    /// Seconds that saving takes.
    save: f64,
}

impl Pace {
    /// For stretch number `stretch`, in a life that has spent time on it `since` then.
    pub(super) fn start(
        run: &RunFolder,
        stretch: usize,
        segment: &Segment,
        since: Instant,
    ) -> Result<Self, TrainError> {
        let known = segment.decisions.last().map_or(0.0, |decision| decision.seconds);
        Ok(Self {
            stretch,
            clock: Clock::start(run, stretch, since, known)?,
            steps: 0,
            recent: (0.0, 0.0),
            since: (Instant::now(), 0),
            decided: known,
            grid: None,
            save: 0.0,
        })
    }

    /// Takes in a step on so many pictures.
    pub(super) fn stepped(&mut self, images: u64) {
        self.steps += 1;
        match self.steps {
            // The first is not typical: memory is touched for the first time.
            1 => self.since = (Instant::now(), 0),
            _ => self.since.1 += images,
        }
    }

    /// Takes in that a grid of samples and its validation were made, or that `share` of that work was, since `began`.
    pub(super) fn previewed(&mut self, began: Instant, share: f64) {
        let seconds = began.elapsed();
        self.since.0 += seconds;
        self.grid = Some(seconds.as_secs_f64() / share * self.speed());
    }

    /// Takes in that a checkpoint was written since `began`.
    pub(super) fn saved(&mut self, began: Instant) {
        let seconds = began.elapsed();
        self.since.0 += seconds;
        self.save = seconds.as_secs_f64();
    }

    /// Whether it is not known yet what a grid of samples takes.
    pub(super) fn lacks_grid(&self) -> bool {
        self.grid.is_none()
    }

    /// Pictures a second, pauses left out.
    fn speed(&self) -> f64 {
        let seconds = self.recent.0 + self.since.0.elapsed().as_secs_f64();
        (self.recent.1 + self.since.1 as f64) / seconds.max(1e-9)
    }

    /// Seconds between checkpoints, where `most` are asked for: a kill is to cost little of the budget, and so is saving.
    pub(super) fn save_every(&self, budget: f64, most: f64) -> f64 {
        (budget * LOST).max(self.save / SAVING).min(most)
    }

    /// Whether it is time to decide at `nimg` pictures: what was decided by an earlier life is repeated first.
    pub(super) fn is_time(&self, segment: &Segment, nimg: u64) -> bool {
        let Some(budget) = segment.budget else { return false };
        let (used, seen) = (self.clock.seconds(), self.since.0.elapsed().as_secs_f64() + self.recent.0);
        let wait = match segment.decisions.last() {
            Some(last) if nimg < last.at => return false,
            Some(_) => SOON.min(budget / 100.0).max(OFTEN * (budget - self.decided)),
            None => 0.0,
        };
        self.steps > STEPS && seen >= SECONDS.min(budget / 20.0) && used - self.decided >= wait
    }

    /// Decides the end of the stretch at `nimg` pictures, for steps of `batch` and `previews` grids along the stretch; `warmup`
    /// is what [`Segment::progress`] skips.
    pub(super) fn decide(&mut self, segment: &Segment, nimg: u64, batch: u64, previews: u32, warmup: u64) -> Decision {
        let images_per_second = self.speed();
        let outlook = Outlook {
            budget: segment.budget.unwrap_or(0.0),
            used: self.clock.seconds(),
            images_per_second,
            grid: self.grid.unwrap_or(0.0) / images_per_second,
            save: self.save,
        };
        let (since, images) = std::mem::replace(&mut self.since, (Instant::now(), 0));
        let (seconds, before) = self.recent;
        self.recent = ((seconds + since.elapsed().as_secs_f64()) * MEMORY, (before + images as f64) * MEMORY);
        self.decided = outlook.used;
        outlook.decide(segment, nimg, batch, previews, warmup)
    }
}

/// What is known when the end is decided.
#[derive(Clone, Copy, Debug)]
struct Outlook {
    /// Seconds of the stretch, and those that are over.
    budget: f64,
    used: f64,
    /// Speed of the steps alone.
    images_per_second: f64,
    /// Seconds of a grid of samples with its validation, and of a checkpoint.
    grid: f64,
    save: f64,
}

impl Outlook {
    fn decide(&self, segment: &Segment, nimg: u64, batch: u64, asked: u32, warmup: u64) -> Decision {
        let left = self.budget - self.used;
        // The end writes a checkpoint and the model.
        let room = left - 2.0 * self.save;
        let affordable = ((PREVIEWS * room / self.grid.max(1e-9)).ceil() as u32).max(1);
        let to_come = |previews: &u32| previews - segment.previewed(nimg, *previews).min(*previews);
        let previews = (0..=asked).rev().find(|previews| to_come(previews) <= affordable).unwrap_or(0);
        let saving = (self.save / (self.budget * LOST).max(self.save / SAVING)).min(SAVING);
        let steps = (room - f64::from(to_come(&previews)) * self.grid) * (1.0 - saving);
        let to_fall = 1.0 - segment.progress(nimg, warmup);
        let least = (self.budget / 2.0 - self.used).max(self.budget * TAIL * (10.0 * to_fall).min(1.0));
        let images = self.images_per_second * steps.max(least);
        let fewest = (to_fall * FALL).ceil().clamp(1.0, FALL / 4.0);
        let batches = (images / batch as f64).round().max(fewest) as u64;
        let batches = batches.min(((IMAGES_MAX - nimg) / batch).max(1));
        Decision {
            at: nimg,
            until: nimg + batches * batch,
            previews: (previews < asked).then_some(previews),
            seconds: self.used,
            images_per_second: self.images_per_second,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BATCH: u64 = 10;

    /// A run on a machine on which a second at time `t` is worth `speed(t)` pictures: what it decides, and when it ends.
    fn run(budget: f64, previews: u32, grid: f64, save: f64, speed: impl Fn(f64) -> f64) -> (Segment, f64, u32) {
        let mut segment = Segment { from: 0, until: 0, budget: Some(budget), decisions: Vec::new() };
        let (mut now, mut nimg, mut done, mut recent) = (0.0, 0, 0, (0.0, 0.0));
        let (mut decided, mut saved) = (0.0, 0.0);
        while segment.end().is_none_or(|until| nimg < until) {
            let step = BATCH as f64 / speed(now);
            (now, nimg) = (now + step, nimg + BATCH);
            recent = (recent.0 + step, recent.1 + BATCH as f64);
            let asked = segment.decisions.last().and_then(|d| d.previews).unwrap_or(previews);
            if segment.previewed(nimg, asked) > segment.previewed(nimg - BATCH, asked) {
                (now, done) = (now + grid * speed(0.0) / speed(now), done + 1);
            }
            if now - saved > (budget * LOST).max(save / SAVING) {
                (now, saved) = (now + save, now);
            }
            let over = segment.end() == Some(nimg);
            if !over && now - decided >= SOON.max(OFTEN * (budget - decided)) {
                let images_per_second = recent.1 / recent.0;
                let grid = grid * speed(0.0) / images_per_second;
                let outlook = Outlook { budget, used: now, images_per_second, grid, save };
                segment.decisions.push(outlook.decide(&segment, nimg, BATCH, previews, 0));
                recent = (recent.0 * MEMORY, recent.1 * MEMORY);
                decided = now;
            }
        }
        (segment, now + 2.0 * save, done)
    }

    #[test]
    fn a_budget_is_kept_whatever_the_machine_does() {
        let half = |t: f64| if t < 30.0 { 200.0 } else { 400.0 };
        let late = |t: f64| if t < 90.0 { 400.0 } else { 200.0 };
        let noisy = |t: f64| 300.0 + 200.0 * (t * 7.0).sin() + 50.0 * (t * 131.0).sin();
        let stall = |t: f64| if (50.0..60.0).contains(&t) { 50.0 } else { 400.0 };
        for (k, speed) in [&(|_| 400.0) as &dyn Fn(f64) -> f64, &half, &late, &noisy, &stall].into_iter().enumerate() {
            for (previews, grid, save) in [(0, 0.0, 0.0), (4, 3.0, 0.1), (12, 3.0, 0.5), (4, 12.0, 0.1)] {
                let (segment, seconds, done) = run(180.0, previews, grid, save, speed);
                assert!((seconds / 180.0 - 1.0).abs() < 0.05, "{k}: {seconds} s with {previews} grids of {grid} s");
                assert!(done >= previews.min(1) && done <= previews + 1, "{k}: {done} of {previews}");
                assert!(segment.progress(segment.end().unwrap() - BATCH, 0) > 0.98, "{k}");
                assert!(segment.decisions.len() < 100, "{k}: {}", segment.decisions.len());
            }
        }
    }

    /// Grids take a small part of a budget; one is made even of one that has no room for it, in the second half.
    #[test]
    fn grids_of_samples_take_a_small_part_of_a_budget() {
        let new = Segment { from: 0, until: 0, budget: Some(100.0), decisions: Vec::new() };
        let decide = |grid, asked| {
            let outlook = Outlook { budget: 100.0, used: 0.0, images_per_second: 100.0, grid, save: 0.0 };
            let Decision { until, previews, .. } = outlook.decide(&new, 0, 10, asked, 0);
            (until, previews)
        };
        assert_eq!(decide(1.0, 4), (9600, None));
        assert_eq!(decide(5.0, 4), (8500, Some(3)));
        assert_eq!(decide(60.0, 4), (5000, Some(1)));
        assert_eq!(decide(60.0, 0), (10_000, None));
    }

    /// A run that was killed at its end has to repeat steps: its learning rate falls to the end all the same, in a little time.
    #[test]
    fn a_late_run_still_anneals() {
        let decisions = vec![Decision { at: 0, until: 10_000, previews: None, seconds: 0.0, images_per_second: 100.0 }];
        let mut segment = Segment { from: 0, until: 10_000, budget: Some(100.0), decisions };
        let outlook = Outlook { budget: 100.0, used: 101.0, images_per_second: 100.0, grid: 1.0, save: 0.0 };
        let decision = outlook.decide(&segment, 9000, 10, 4, 0);
        assert_eq!(decision.until, 9200);
        segment.decisions.push(decision);
        assert!(segment.progress(9190, 0) > 0.99 && segment.progress(9010, 0) < 0.91);
        assert_eq!(outlook.decide(&segment, 9190, 10, 4, 0).until, 9200);
    }
}
