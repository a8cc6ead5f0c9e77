//! What was measured, for people and for the document.

use std::{fmt::Write, fs, process::Command};

/// How a figure stands to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// No target.
    Shown,
    /// Reached.
    Pass,
    /// Missed, but the machine was busy.
    Warn,
    /// Missed.
    Fail,
}

impl Outcome {
    /// Whether the target is reached.
    pub(super) fn of(reached: bool) -> Self {
        if reached { Self::Pass } else { Self::Fail }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "",
            Self::Pass => "PASS",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) what: String,
    pub(super) figure: String,
    pub(super) target: String,
    pub(super) outcome: Outcome,
}

impl Line {
    /// A figure without a target.
    pub(super) fn shown(what: impl Into<String>, figure: impl Into<String>) -> Self {
        Self { what: what.into(), figure: figure.into(), target: String::new(), outcome: Outcome::Shown }
    }

    /// A figure that has to be at least `target`.
    pub(super) fn at_least(what: impl Into<String>, value: f64, target: f64, show: impl Fn(f64) -> String) -> Self {
        let target_text = format!("≥ {}", show(target));
        Self { target: target_text, outcome: Outcome::of(value >= target), ..Self::shown(what, show(value)) }
    }

    /// A figure that has to be at most `target`.
    pub(super) fn at_most(what: impl Into<String>, value: f64, target: f64, show: impl Fn(f64) -> String) -> Self {
        let target_text = format!("≤ {}", show(target));
        Self { target: target_text, outcome: Outcome::of(value <= target), ..Self::shown(what, show(value)) }
    }
}

/// One benchmark: its name, how it was done, and what came of it.
#[derive(Clone, Debug)]
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) method: String,
    pub(super) lines: Vec<Line>,
}

/// A number per second: `2.41 M/s`, `437 k/s`.
pub(super) fn rate(per_second: f64) -> String {
    if per_second >= 1e6 { format!("{:.2} M/s", per_second / 1e6) } else { format!("{:.0} k/s", per_second / 1e3) }
}

/// A ratio to two places.
pub(super) fn ratio(value: f64) -> String {
    format!("{value:.2}")
}

/// For a terminal.
pub(super) fn human(sections: &[Section]) -> String {
    let lines = || sections.iter().flat_map(|section| &section.lines);
    let width = |text: fn(&Line) -> &str| lines().map(|line| text(line).chars().count()).max().unwrap_or_default();
    let (what, figure) = (width(|line| &line.what), width(|line| &line.figure));
    let target = width(|line| &line.target);
    let mut out = String::new();
    for section in sections {
        let _ = writeln!(out, "\n{}", section.title);
        for line in &section.lines {
            let _ = writeln!(
                out,
                "  {:<what$}  {:>figure$}  {:<target$}  {}",
                line.what,
                line.figure,
                line.target,
                line.outcome.as_str()
            );
        }
    }
    out.lines().fold(String::new(), |all, line| all + line.trim_end() + "\n")
}

/// The document.
pub(super) fn markdown(sections: &[Section], machine: &Machine, command: &str) -> String {
    let mut out = String::from("# Benchmarks\n\n");
    let _ = write!(
        out,
        "Measured {} with\n\n    {command}\n\non this machine:\n\n\
         | | |\n|---|---|\n| processor | {} |\n| cores | {} |\n| memory | {} |\n| kernel | {} |\n| compiler | {} |\n\
         | load average at the start | {} |\n\n\
         Inputs are generated with seed 1, about 1.6 KB an event, and read from the file cache. Every answer of \
         `replay` and of every floor is compared with what is true of the input. Processor time is user and system \
         time. Where a figure is repeated, peers take turns and the least processor time, or the shortest time on the \
         clock, counts: on a machine that does other things too, it is the least disturbed.\n",
        machine.date,
        machine.processor,
        machine.cores,
        machine.memory,
        machine.kernel,
        machine.compiler,
        machine.load.map_or_else(|| "unknown".to_owned(), |load| load.to_string()),
    );
    for section in sections {
        let _ = write!(out, "\n## {}\n\n{}\n\n", section.title, section.method);
        out.push_str("| | figure | target | |\n|---|---:|---|---|\n");
        for line in &section.lines {
            let (target, outcome) = (&line.target, line.outcome.as_str());
            let _ = writeln!(out, "| {} | {} | {target} | {outcome} |", line.what, line.figure);
        }
    }
    out
}

/// The machine it was measured on.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    date: String,
    processor: String,
    cores: usize,
    memory: String,
    kernel: String,
    compiler: String,
    /// Load average over the last minute.
    pub(super) load: Option<f64>,
}

impl Machine {
    /// This machine, now.
    pub(super) fn here() -> Self {
        let unknown = || "unknown".to_owned();
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let compiler = Command::new("rustc").arg("--version").output().ok();
        let compiler = compiler.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let kib = value_of(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
        Self {
            date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
            processor: value_of(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory: kib.map_or_else(unknown, |kib: f64| format!("{:.0} GiB", kib / f64::from(1 << 20))),
            kernel: format!("Linux {}", read("/proc/sys/kernel/osrelease").trim()),
            compiler: compiler.filter(|text| !text.is_empty()).unwrap_or_else(unknown),
            load: load_average(),
        }
    }
}

/// The value of the first line `key : value`.
fn value_of(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim().to_owned())
    })
}

/// The load average of the last minute; `None` where the system does not say.
pub(super) fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_held_on_their_right_side() {
        let outcome = |line: Line| line.outcome;
        assert_eq!(outcome(Line::at_least("", 0.8, 0.8, ratio)), Outcome::Pass);
        assert_eq!(outcome(Line::at_least("", 0.79, 0.8, ratio)), Outcome::Fail);
        assert_eq!(outcome(Line::at_most("", 50.0, 50.0, ratio)), Outcome::Pass);
        assert_eq!(outcome(Line::at_most("", 50.1, 50.0, ratio)), Outcome::Fail);
    }

    #[test]
    fn figures_are_readable() {
        assert_eq!([rate(2_414_000.0), rate(437_400.0)], ["2.41 M/s", "437 k/s"]);
        let cpuinfo = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel name\t: other\n";
        assert_eq!(value_of(cpuinfo, "model name").as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(value_of(cpuinfo, "model"), None);
    }

    #[test]
    fn both_reports_hold_every_line() {
        let section = Section {
            title: "Speed",
            method: "By the clock.".into(),
            lines: vec![Line::at_least("of the floor", 0.9, 0.8, ratio), Line::shown("floor", "1.00 M/s")],
        };
        let text = human(std::slice::from_ref(&section));
        assert_eq!(text, "\nSpeed\n  of the floor      0.90  ≥ 0.80  PASS\n  floor         1.00 M/s\n");
        let text = markdown(&[section], &Machine::here(), "measure");
        assert!(text.contains("| of the floor | 0.90 | ≥ 0.80 | PASS |\n| floor | 1.00 M/s |  |  |\n"), "{text}");
    }
}
