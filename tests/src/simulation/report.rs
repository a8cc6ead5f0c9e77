//! What came of many runs, for people and for programs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    time::Duration,
};

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::{
    Outcome,
    chance::{Fault, Occurrence},
    plan::Plan,
};

const HOUR_MS: f64 = 3_600_000.0;

/// A seed whose run broke a promise, or ran differently the second time.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The promise, `I1` to `I16`, `liveness`, or `determinism`.
    pub id: String,
    /// What was broken.
    pub what: String,
    /// How to see it again.
    pub command: String,
    /// The end of the smallest trace that was found.
    pub trace: Vec<String>,
}

/// All runs together.
#[derive(Debug, Default)]
pub struct Totals {
    /// Seeds.
    pub seeds: u64,
    /// Runs: some seeds run twice, to compare.
    pub runs: u64,
    /// Simulated time of all runs, in milliseconds.
    pub simulated_ms: i64,
    /// Steps of the traces of all runs.
    pub steps: u64,
    /// How often each fault happened, and with how many seeds.
    pub faults: BTreeMap<Fault, (u64, u64)>,
    /// How often each promise was checked by the models.
    pub checks: BTreeMap<&'static str, u64>,
    /// Sessions, those ended by force, locks.
    pub sessions: [u64; 3],
    /// What failed.
    pub failures: Vec<Failure>,
}

impl Totals {
    /// Adds a seed, and what each of its runs came to.
    pub fn add(&mut self, outcome: &Outcome, runs: u32) {
        self.seeds += 1;
        self.runs += u64::from(runs);
        self.simulated_ms += outcome.simulated_ms * i64::from(runs);
        self.steps += outcome.digest.1 * u64::from(runs);
        for (fault, count) in outcome.faults() {
            let (times, seeds) = self.faults.entry(fault).or_default();
            (*times, *seeds) = (*times + count, *seeds + 1);
        }
        for (id, count) in &outcome.checks {
            *self.checks.entry(id).or_default() += count;
        }
        for (sum, count) in self.sessions.iter_mut().zip(outcome.sessions) {
            *sum += count;
        }
    }

    /// Simulated hours.
    pub fn hours(&self) -> f64 {
        self.simulated_ms as f64 / HOUR_MS
    }

    /// For programs. `cpu` is what all of it took.
    pub fn json(&self, cpu: Duration, took: Duration) -> Value {
        let faults: BTreeMap<&str, Value> = self
            .faults
            .iter()
            .map(|(fault, (times, seeds))| (fault.name(), json!({ "times": times, "seeds": seeds })))
            .collect();
        let failures = self.failures.iter().map(|one| {
            json!({ "seed": one.seed, "promise": one.id, "what": one.what, "command": one.command, "trace": one.trace })
        });
        json!({
            "seeds": self.seeds,
            "runs": self.runs,
            "simulated_hours": self.hours(),
            "steps": self.steps,
            "cpu_seconds": cpu.as_secs_f64(),
            "seconds": took.as_secs_f64(),
            "simulated_hours_per_cpu_hour": self.hours() / cpu.as_secs_f64() * 3_600.0,
            "sessions": { "begun": self.sessions[0], "ended_by_force": self.sessions[1], "locks": self.sessions[2] },
            "checks": self.checks,
            "faults": faults,
            "failures": failures.collect::<Vec<_>>(),
        })
    }

    /// For people.
    pub fn text(&self, cpu: Duration, took: Duration) -> String {
        let mut text = String::new();
        let mut table = Table::new();
        table.load_preset(presets::NOTHING).set_header(["fault", "times", "seeds"]);
        for (fault, (times, seeds)) in &self.faults {
            let number = |count: &u64| Cell::new(count).set_alignment(CellAlignment::Right);
            table.add_row([Cell::new(fault.name()), number(times), number(seeds)]);
        }
        let checks: Vec<String> = self.checks.iter().map(|(id, count)| format!("{id} {count}")).collect();
        let rate = self.hours() / cpu.as_secs_f64() * 3_600.0;
        let _ = writeln!(text, "{table}\n");
        let _ = writeln!(text, "checks by the models: {}", checks.join(", "));
        let _ = writeln!(
            text,
            "{} sessions, {} ended by force, {} locks",
            self.sessions[0], self.sessions[1], self.sessions[2]
        );
        let _ = writeln!(
            text,
            "{} seeds in {} runs: {:.1} simulated hours, {} steps, {:.1} s of CPU, {:.1} s; {rate:.0} \
             simulated hours in each hour of CPU",
            self.seeds,
            self.runs,
            self.hours(),
            self.steps,
            cpu.as_secs_f64(),
            took.as_secs_f64(),
        );
        for failure in &self.failures {
            let Failure { seed, id, what, command, trace } = failure;
            let _ = writeln!(text, "\nseed {seed}: {id}: {what}\nrepeat it: {command}");
            for line in trace {
                let _ = writeln!(text, "  {line}");
            }
        }
        text
    }
}

/// Numbers as ranges: `1,3-5`.
pub fn ranges(numbers: &BTreeSet<u32>) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            Some(_) | None => parts.push((*number, *number)),
        }
    }
    let text = |(first, last): &(u32, u32)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    parts.iter().map(text).collect::<Vec<_>>().join(",")
}

/// Occurrences as the command line takes them: `crash:3,pause:0`.
pub fn occurrences(all: &BTreeSet<Occurrence>) -> String {
    if all.is_empty() {
        return "none".to_owned();
    }
    all.iter().map(|(fault, at)| format!("{}:{at}", fault.name())).collect::<Vec<_>>().join(",")
}

/// How to run a plan again that was drawn for so many hours; `options` are further ones of the command line.
pub fn command(plan: &Plan, hours: f64, options: &str) -> String {
    let mut text = format!("simulate --seeds {}..{} --hours {hours}{options}", plan.seed, plan.seed + 1);
    if plan.faulty_ms != (hours * HOUR_MS) as i64 {
        let _ = write!(text, " --until-ms {}", plan.faulty_ms);
    }
    if let Some(only) = &plan.only {
        let _ = write!(text, " --only {}", occurrences(only));
    }
    let _ = write!(text, " --acts {}", ranges(&plan.acts.iter().map(|act| act.number).collect()));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_in_ranges() {
        assert_eq!(ranges(&BTreeSet::from([1, 3, 4, 5, 9])), "1,3-5,9");
        assert_eq!(ranges(&BTreeSet::new()), "");
        assert_eq!(occurrences(&BTreeSet::from([(Fault::Crash, 3), (Fault::Pause, 0)])), "crash:3,pause:0");
    }
}
