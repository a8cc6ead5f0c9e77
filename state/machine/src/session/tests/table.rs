//! The whole transition table: what each combination of facts comes to.

use std::fmt::Write as _;

use super::support::*;
use crate::{
    effect::Mode,
    session::{Described, Input, Life, LogFlaw, LogLook, LogSeen, Session},
};

/// How the opening is known.
#[derive(Clone, Copy, PartialEq)]
enum Opening {
    Unknown,
    Call,
    Description,
}

/// What runs, and so whether it violates a control and whether a log is expected.
#[derive(Clone, Copy)]
enum Kind {
    /// A logged shell.
    Good,
    /// A shell whose role cannot write the log.
    Unlogged,
    /// A port session: violates, and leaves no log.
    Port,
    /// A logged ECS Exec session: leaves no log of its own.
    Exec,
}

/// What AWS and CloudTrail have said after the opening, all at the beginning plus so many seconds.
const LIVES: [(&str, &[Said]); 18] = [
    ("never asked", &[]),
    ("no answer 10", &[Said::Nothing(10)]),
    ("alive 10", &[Said::Alive(10)]),
    ("alive 10, event of end 20", &[Said::Alive(10), Said::Terminate(20)]),
    ("event of end 20", &[Said::Terminate(20)]),
    ("event of end 20, alive 30", &[Said::Terminate(20), Said::Alive(30)]),
    ("alive 10, ended 20", &[Said::Alive(10), Said::Ended(20)]),
    ("ended 20, alive 30", &[Said::Ended(20), Said::Alive(30)]),
    ("alive 10, event of end 20, ended 30", &[Said::Alive(10), Said::Terminate(20), Said::Ended(30)]),
    ("alive 10, ended 20, log absent 60", &[Said::Alive(10), Said::Ended(20), Said::Absent(60)]),
    ("alive 10, ended 20, log absent 920", &[Said::Alive(10), Said::Ended(20), Said::Absent(920)]),
    ("alive 10, ended 20, log unknown 920", &[Said::Alive(10), Said::Ended(20), Said::Nothing(920)]),
    ("alive 10, ended 20, log found 60", &[Said::Alive(10), Said::Ended(20), Said::Found(60)]),
    ("alive 10, ended 20, log suspect 60", &[Said::Alive(10), Said::Ended(20), Said::Suspect(60)]),
    (
        "alive 10, ended 20, log absent 920, changed 930",
        &[Said::Alive(10), Said::Ended(20), Said::Absent(920), Said::Changed(930)],
    ),
    ("alive 10, changed 11, no answer 70", &[Said::Alive(10), Said::Changed(11), Said::Nothing(70)]),
    ("alive 10, changed 11", &[Said::Alive(10), Said::Changed(11)]),
    ("event of end 20, no answer 920", &[Said::Terminate(20), Said::Nothing(920)]),
];

#[derive(Clone, Copy)]
enum Said {
    Nothing(i64),
    Alive(i64),
    Ended(i64),
    Terminate(i64),
    Absent(i64),
    Found(i64),
    Suspect(i64),
    Changed(i64),
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Good => "shell",
            Self::Unlogged => "unlogged",
            Self::Port => "port",
            Self::Exec => "exec",
        }
    }

    fn call(self) -> Input {
        match self {
            Self::Good | Self::Unlogged => start(0),
            Self::Port => opened(0, 1, NODE, Some(PORT)),
            Self::Exec => executed(0, 1),
        }
    }

    fn alive(self, seconds: i64) -> Input {
        let (target, document) = match self {
            Self::Good | Self::Unlogged => (NODE, "SSM-SessionManagerRunShell"),
            Self::Port => (NODE, PORT),
            Self::Exec => ("ecs:c_t_n", "AmazonECS-ExecuteInteractiveCommand"),
        };
        let described = Described { target: target.into(), document: document.into(), ..described() };
        let evidence = match self {
            Self::Good | Self::Port | Self::Exec => GOOD,
            Self::Unlogged => BAD,
        };
        round(seconds, Life::Alive(described), &evidence, LogLook::Unknown)
    }

    fn session(self) -> Session {
        match self {
            Self::Good | Self::Unlogged | Self::Port => session(),
            Self::Exec => Session::new(key("ecs-execute-command-0a1b2c3d4e5f60718"), now(0)),
        }
    }

    fn says(self, said: Said) -> (i64, Input) {
        match said {
            Said::Nothing(s) => (s, look(s, LogLook::Unknown)),
            Said::Alive(s) => (s, self.alive(s)),
            Said::Ended(s) => (s, ended(s, 20)),
            Said::Terminate(s) => (s, terminate(s, 9)),
            Said::Absent(s) => (s, look(s, absent())),
            Said::Found(s) => (s, look(s, found(50))),
            Said::Suspect(s) => {
                let flaws = [LogFlaw::WrittenTwice].into();
                (s, look(s, LogLook::Found(LogSeen { written_at: at(50), flaws, ..LogSeen::default() })))
            }
            Said::Changed(s) => (s, changed("web")),
        }
    }
}

fn row(desk: &mut Desk, mut session: Session, inputs: &[(i64, Input)]) -> String {
    let mut last = 0;
    for (seconds, input) in inputs {
        session.absorb(input.clone(), now(*seconds));
        last = *seconds;
    }
    let effects = desk.step(&mut session, Input::Wake, last);
    let due = desk.due_ms(&session).map_or("-".to_owned(), |ms| format!("{}", ms / 1_000));
    format!("{:<22} due {due:>4} | {}", format!("{:?}", desk.phase(&session)), ids(&effects).join(" "))
}

// R-G6, R-W6: every combination of facts has its phase, its time to look again and its effects.
#[test]
fn transitions() {
    let mut lines = Vec::new();
    for (mode, mode_name) in [(Mode::Observe, "observe"), (Mode::Enforce, "enforce")] {
        for kind in [Kind::Good, Kind::Unlogged, Kind::Port, Kind::Exec] {
            for opening in [Opening::Call, Opening::Description] {
                for (name, said) in LIVES {
                    let alive = said.iter().any(|said| matches!(said, Said::Alive(_)));
                    if opening == Opening::Description && !alive {
                        continue;
                    }
                    let mut desk = if mode == Mode::Enforce { Desk::enforcing() } else { Desk::observing() };
                    let call = (opening == Opening::Call).then(|| (0, kind.call()));
                    let inputs: Vec<_> = call.into_iter().chain(said.iter().map(|said| kind.says(*said))).collect();
                    let known = if opening == Opening::Call { "call" } else { "description" };
                    let row = row(&mut desk, kind.session(), &inputs);
                    lines.push(format!("{mode_name:<7} {:<8} {known:<11} {name:<47} {row}", kind.name()));
                }
            }
        }
    }
    for resumed in [false, true] {
        for (name, said) in LIVES {
            if said.iter().any(|said| matches!(said, Said::Alive(_))) {
                continue;
            }
            let resume = resumed.then(|| (5, resume(5, 8)));
            let inputs: Vec<_> = resume.into_iter().chain(said.iter().map(|said| Kind::Good.says(*said))).collect();
            let row = row(&mut Desk::enforcing(), session(), &inputs);
            lines.push(format!(
                "enforce {:<8} {:<11} {name:<47} {row}",
                if resumed { "resumed" } else { "unseen" },
                "-"
            ));
        }
    }
    for opening in [Opening::Unknown, Opening::Call] {
        for kind in [Kind::Good, Kind::Port, Kind::Exec] {
            if opening == Opening::Unknown && !matches!(kind, Kind::Good) {
                continue;
            }
            for (resumed, terminated) in [(false, false), (false, true), (true, false), (true, true)] {
                let mut desk = Desk::observing();
                (desk.settings.organization, desk.settings.activity) = (false, true);
                let call = (opening == Opening::Call).then(|| (0, kind.call()));
                let resume = resumed.then(|| (5, resume(5, 8)));
                let end = terminated.then(|| (20, terminate(20, 9)));
                let inputs: Vec<_> = call.into_iter().chain(resume).chain(end).collect();
                let name = match (resumed, terminated) {
                    (false, false) => "nothing more",
                    (false, true) => "event of end 20",
                    (true, false) => "resumed 5",
                    (true, true) => "resumed 5, event of end 20",
                };
                let known = if opening == Opening::Call { "call" } else { "-" };
                let row = row(&mut desk, kind.session(), &inputs);
                lines.push(format!("history {:<8} {known:<11} {name:<47} {row}", kind.name()));
            }
        }
    }
    lines.sort();
    let table = lines.iter().fold(String::new(), |mut table, line| {
        let _ =
            writeln!(table, "{}", line.trim_end().replace("activity/00000000-0000-0000-0000-0000000000", "activity/"));
        table
    });
    insta::assert_snapshot!(table);
}
