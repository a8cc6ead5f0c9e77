//! The rate of `replay` for each second of processor time, against floors and peers.

use anyhow::{Result, ensure};
use sessionwarden::replay::cpu_seconds;

use super::{
    Bench, child,
    floor::{self, Floor},
    input::{Input, Spec},
    peers,
    report::{Line, Section, rate, ratio},
};

/// Flink 1.20's marginal rate on the same job, measured elsewhere.
const FLINK: f64 = 283_000.0;

/// One stream, and what it is held against.
struct Case {
    name: &'static str,
    spec: Spec,
    floor: Floor,
    targets: Option<Targets>,
}

struct Targets {
    /// The least share of the floor's rate.
    of_floor: f64,
    /// The rate of `DuckDB` on the same job, measured elsewhere.
    duckdb: f64,
}

const METHOD: &str = "Events for each second of processor time, one thread. `replay` is the whole process as it is \
                      installed, from its start to its printed answer, policy loading and judging included. The floors \
                      run inside this program, so that their start costs nothing, and decide nothing: they read the \
                      file, split it into lines with memchr, parse with sonic-rs into borrowed typed fields (1 %: only \
                      lines in which memmem finds `ssm.amazonaws.com`; all relevant: every line) and keep their \
                      sessions in a hash map. «Many sessions» has one for every three events, so that most of the time \
                      goes into memory; it has no target. Rates of peers «elsewhere» are those \
                      published for the same job, not measured in this run; DuckDB «here» is one SQL statement on one \
                      thread, its start not counted.";

pub(super) fn measure(bench: &Bench) -> Result<Section> {
    let spec = |relevant, sessions| Spec { events: bench.events, relevant, sessions };
    let cases = [
        Case {
            name: "1 %",
            spec: spec(0.01, None),
            floor: Floor::Needle,
            targets: Some(Targets { of_floor: 0.8, duckdb: 503_000.0 }),
        },
        Case {
            name: "all relevant",
            spec: spec(1.0, None),
            floor: Floor::All,
            targets: Some(Targets { of_floor: 0.5, duckdb: 437_000.0 }),
        },
        Case {
            name: "all relevant, many sessions",
            spec: spec(1.0, Some(bench.events / 3)),
            floor: Floor::All,
            targets: None,
        },
    ];
    let mut lines = Vec::new();
    for case in &cases {
        let input = bench.input(&case.spec)?;
        lines.extend(measure_case(bench, case, &input)?);
    }
    Ok(Section { title: "Replay", method: METHOD.into(), lines })
}

fn measure_case(bench: &Bench, case: &Case, input: &Input) -> Result<Vec<Line>> {
    let mut least = [f64::MAX; 3];
    for _ in 0..bench.rounds {
        let seconds = [
            floor_seconds(input, case.floor)?,
            child::replay(&bench.binary, input, 1)?.cpu_seconds,
            match &bench.peers {
                Some(python) => peers::duckdb_seconds(python, input)?,
                None => f64::MAX,
            },
        ];
        for (least, seconds) in least.iter_mut().zip(seconds) {
            *least = least.min(seconds);
        }
    }
    let per_second = |seconds: f64| input.truth.events as f64 / seconds;
    let [floor, ours, duckdb] = least.map(per_second);
    let line = |what: &str| format!("{}: {what}", case.name);
    let bytes = input.bytes as f64 / input.truth.events as f64;
    let mut lines = vec![
        Line::shown(line("bytes for each event"), format!("{bytes:.0} B")),
        Line::shown(line("floor"), rate(floor)),
        Line::shown(line("replay"), rate(ours)),
    ];
    let mut compare = |what: &str, other: f64, target: Option<f64>| {
        let name = line(what);
        lines.push(match target {
            Some(target) => Line::at_least(name, ours / other, target, ratio),
            None => Line::shown(name, ratio(ours / other)),
        });
    };
    let targets = case.targets.as_ref();
    compare("replay / floor", floor, targets.map(|targets| targets.of_floor));
    if let Some(targets) = targets {
        compare(&format!("replay / DuckDB, elsewhere {}", rate(targets.duckdb)), targets.duckdb, Some(1.0));
        compare(&format!("replay / Flink, elsewhere {}", rate(FLINK)), FLINK, Some(1.0));
    }
    if bench.peers.is_some() {
        compare(&format!("replay / DuckDB, here {}", rate(duckdb)), duckdb, targets.map(|_| 1.0));
    }
    Ok(lines)
}

fn floor_seconds(input: &Input, floor: Floor) -> Result<f64> {
    let before = cpu_seconds();
    let found = floor::run(&input.path, floor)?;
    let seconds = cpu_seconds() - before;
    let truth = &input.truth;
    ensure!(
        [found.events, found.sessions, found.open] == [truth.events, truth.sessions.seen, truth.sessions.open],
        "the floor found {found:?}, true is {truth:?}"
    );
    Ok(seconds)
}
