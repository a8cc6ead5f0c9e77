//! `sessionwarden iam`.

use std::{
    borrow::Cow,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read as _, Write as _},
    marker::PhantomData,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use clap::{Args as ClapArgs, Subcommand};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use sessionwarden_machine::permission::{
    Answer, Caller, Context, Decision, Policy, Principal, Request, Target, evaluate,
};

use super::{Failure, Format, OK, PARKED};

/// How long a line may be, in bytes.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Evaluate IAM policies.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Decide requests from their policies alone: allow, deny, or unknown.
    ///
    /// Each line of FILE is a JSON object: `id`, `action`, `resource`, `principal` (`arn`, `policies`, `boundary`,
    /// `session_policies`), `scps` and `rcps` (one list of policies for each level), `resource_policy`,
    /// `endpoint_policy`, `resource_account`, and `context` (each key with a list of values or null). A policy is an
    /// object or a string of JSON. A context key given as null is known to be absent; one that is not given is unknown.
    /// What is left out is none.
    ///
    /// Prints one line for each: id, decision, explicit, reason. A line that cannot be read is reported, the others go
    /// on, and the exit code is 3.
    Simulate {
        /// The requests; `-` for the standard input.
        file: PathBuf,
        /// How the decisions are printed.
        #[arg(long, value_enum, default_value_t = Format::Json)]
        format: Format,
    },
}

pub(super) fn run(args: &Args) -> Result<u8, Failure> {
    let Command::Simulate { file, format } = &args.command;
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let cannot_read = || format!("cannot read {name}");
    let mut input: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(file).with_context(cannot_read).map_err(Failure::usage)?))
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let (mut line, mut number, mut bad) = (Vec::new(), 0_u64, false);
    while let Some(whole) = next_line(&mut input, &mut line).with_context(cannot_read).map_err(Failure::usage)? {
        number += 1;
        let text = if number == 1 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line) } else { &line };
        if text.trim_ascii().is_empty() {
            continue;
        }
        let decided = if whole { decide(text) } else { Err(format!("it has more than {LINE_BYTES_MAX} bytes")) };
        match decided {
            Ok(decided) => {
                for field in &decided.ignored {
                    eprintln!("sessionwarden: {name}:{number}: the field {field:?} is not known and was ignored");
                }
                print(&mut out, &decided, *format).context("cannot write the decisions").map_err(Failure::failed)?;
            }
            Err(problem) => {
                bad = true;
                eprintln!("sessionwarden: {name}:{number}: {problem}");
            }
        }
    }
    out.flush().context("cannot write the decisions").map_err(Failure::failed)?;
    Ok(if bad { PARKED } else { OK })
}

/// Reads the next line without its end into `line`. `Some(false)`: it was too long, and the rest of it was passed over.
fn next_line(input: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    line.clear();
    if input.take(LINE_BYTES_MAX + 1).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") || line.len() as u64 <= LINE_BYTES_MAX {
        return Ok(Some(true));
    }
    loop {
        let buffer = input.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(buffer.len(), |at| at + 1);
        input.consume(used);
        if end.is_some() || used == 0 {
            return Ok(Some(false));
        }
    }
}

/// What is printed for a line.
struct Decided {
    /// As it was given.
    id: String,
    decision: Decision,
    /// Fields that are not known.
    ignored: Vec<String>,
}

#[derive(Serialize)]
struct Row<'a> {
    id: &'a RawValue,
    decision: Answer,
    explicit: bool,
    reason: &'a str,
}

fn print(out: &mut impl io::Write, decided: &Decided, format: Format) -> anyhow::Result<()> {
    let Decision { answer, explicit, reason } = &decided.decision;
    match format {
        Format::Json => {
            let id: &RawValue = serde_json::from_str(&decided.id)?;
            let row = Row { id, decision: *answer, explicit: *explicit, reason };
            serde_json::to_writer(&mut *out, &row)?;
            out.write_all(b"\n")?;
        }
        Format::Human => {
            let id = serde_json::from_str::<String>(&decided.id).unwrap_or_else(|_| decided.id.clone());
            writeln!(out, "{answer:<8} {id}: {reason}")?;
        }
    }
    Ok(())
}

/// The members of a JSON object in their order, each name once.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Reader<'a> {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
                let mut members: Vec<(Cow<'a, str>, &'a RawValue)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    if members.iter().any(|(other, _)| *other == name) {
                        return Err(serde::de::Error::custom(format!("{name:?} stands there twice")));
                    }
                    members.push((Cow::Owned(name), value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Reader(PhantomData))
    }
}

fn read<'a, T: Deserialize<'a>>(name: &str, raw: &'a RawValue) -> Result<T, String> {
    serde_json::from_str(raw.get()).map_err(|error| format!("{name}: {}", message(&error)))
}

/// An error of a one-line text: its column says enough.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((text, _)) if error.column() > 0 => format!("{text} at column {}", error.column()),
        _ => text,
    }
}

/// The policy in a place of the input: an object, or a string of JSON.
fn policy(raw: &RawValue) -> Arc<Policy> {
    Arc::new(if raw.get().starts_with('"') {
        match serde_json::from_str::<String>(raw.get()) {
            Ok(text) => Policy::parse(&text),
            Err(error) => Policy::unreadable(format!("it is no proper string: {}", message(&error))),
        }
    } else {
        Policy::parse(raw.get())
    })
}

fn policies(name: &str, raw: &RawValue) -> Result<Vec<Arc<Policy>>, String> {
    let list: Option<Vec<&RawValue>> = read(name, raw)?;
    Ok(list.into_iter().flatten().map(policy).collect())
}

fn levels(name: &str, raw: &RawValue) -> Result<Vec<Vec<Arc<Policy>>>, String> {
    let levels: Option<Vec<Vec<&RawValue>>> = read(name, raw)?;
    Ok(levels.into_iter().flatten().map(|level| level.into_iter().map(policy).collect()).collect())
}

fn optional_policy(raw: &RawValue) -> Option<Arc<Policy>> {
    (raw.get() != "null").then(|| policy(raw))
}

/// A value of a context key; numbers and booleans are taken as texts.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Bool(bool),
    Number(serde_json::Number),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    Many(Vec<Scalar>),
    One(Scalar),
}

fn context(raw: &RawValue) -> Result<Context, String> {
    let mut context = Context::new();
    let members: Option<Members<'_>> = read("context", raw)?;
    for (key, raw) in members.into_iter().flat_map(|members| members.0) {
        let text = |scalar| match scalar {
            Scalar::Text(text) => text,
            Scalar::Bool(bool) => bool.to_string(),
            Scalar::Number(number) => number.to_string(),
        };
        let values = read::<Option<Values>>("context", raw)
            .map_err(|_| format!("context: the value of {key:?} is neither null nor a list of strings"))?;
        let again = match values {
            None => context.set_absent(&key),
            Some(Values::One(value)) => context.set(&key, [text(value)]),
            Some(Values::Many(values)) => context.set(&key, values.into_iter().map(text)),
        };
        if again {
            return Err(format!("context: {key:?} stands there twice; names of keys ignore case"));
        }
    }
    Ok(context)
}

/// The principal of a line with what bounds it. `Ok(Err(…))`: it is none that could ask for anything.
fn caller(raw: &RawValue, ignored: &mut Vec<String>) -> Result<Result<Caller, String>, String> {
    let Members(members) = read("principal", raw)?;
    let (mut arn, mut identity, mut boundary, mut session) = (None, Vec::new(), None, Vec::new());
    for (name, value) in members {
        match &*name {
            "arn" => arn = Some(read::<String>("principal.arn", value)?),
            "policies" => identity = policies("principal.policies", value)?,
            "boundary" => boundary = optional_policy(value),
            "session_policies" => session = policies("principal.session_policies", value)?,
            _ => ignored.push(format!("principal.{name}")),
        }
    }
    let arn = arn.ok_or("principal.arn is missing")?;
    Ok(match Principal::parse(&arn) {
        Ok(principal) => Ok(Caller { identity, boundary, session, ..Caller::new(principal) }),
        Err(problem) => Err(problem.to_string()),
    })
}

fn decide(line: &[u8]) -> Result<Decided, String> {
    let line = std::str::from_utf8(line).map_err(|_| "it is not UTF-8")?;
    let Members(members) = serde_json::from_str(line).map_err(|error| message(&error))?;
    let (mut id, mut action, mut asking, mut resource) = ("null".to_owned(), None, None, None);
    let (mut scps, mut target, mut known, mut ignored) = (Vec::new(), Target::default(), Context::new(), Vec::new());
    for (name, value) in members {
        match &*name {
            "id" => value.get().clone_into(&mut id),
            "action" => action = Some(read::<String>(&name, value)?),
            "resource" => resource = Some(read::<String>(&name, value)?),
            "principal" => asking = Some(caller(value, &mut ignored)?),
            "scps" => scps = levels(&name, value)?,
            "rcps" => target.rcps = levels(&name, value)?,
            "resource_policy" => target.policy = optional_policy(value),
            "endpoint_policy" => target.endpoint = optional_policy(value),
            "resource_account" => target.account = read(&name, value)?,
            "context" => known = context(value)?,
            _ => ignored.push(name.into_owned()),
        }
    }
    let action = action.ok_or("action is missing")?;
    target.resource = resource.ok_or("resource is missing")?;
    let decision = match asking.ok_or("principal is missing")? {
        Ok(caller) => {
            let caller = Caller { scps, ..caller };
            evaluate(&Request { action: &action, caller: &caller, target: &target, context: &known })
        }
        Err(problem) => Decision { answer: Answer::Unknown, explicit: false, reason: problem },
    };
    Ok(Decided { id, decision, ignored })
}
