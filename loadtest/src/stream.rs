//! The stream itself: one line at a time, from a plan, an organisation and a seed.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    io,
    sync::Arc,
};

use serde::Serialize;
use sessionwarden_machine::ids::{AccountId, EventTime, Now};
use sessionwarden_world::{
    OrganisationShape, World, background, catalogue,
    cloudtrail::{Record, write_envelope},
    dice::Dice,
    session::{DEFAULT_DOCUMENT, push_session_id, push_session_response, push_start_request},
    template::Scene,
};

use crate::{
    casting::{Casting, SessionNumber},
    plan::Plan,
};

/// When the first event of every stream happens: 2025-06-02 06:00:00 UTC.
pub const START: EventTime = EventTime(1_748_844_000_000);
/// How many places an event can be moved towards the end, at the most.
pub const PLACES_MAX: u64 = 400;
/// How many of the latest lines can be repeated, of those that matter and of the others.
const RECENT_MAX: usize = 256;

/// What the stream is made for, beside its plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Ordinary accounts, at least one.
    pub accounts: usize,
    /// Equal seeds make equal streams.
    pub seed: u64,
    /// The share of lines that are moved, from 0 to 1.
    pub disorder: f64,
    /// Events in one second of event time, at least one.
    pub events_per_second: u64,
    /// Inside EventBridge envelopes rather than as bare records.
    pub envelopes: bool,
}

impl Setting {
    /// The organisation in which it all happens, as it is when the stream begins.
    pub fn world(&self) -> World {
        let shape = OrganisationShape { accounts: self.accounts.max(1), ..OrganisationShape::default() };
        World::new(shape, self.seed, Now(START.0))
    }
}

/// What is true of a stream, as a reader of it should find.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// Lines in all.
    pub events: u64,
    /// Lines that matter, repeated ones included.
    pub relevant: u64,
    /// Lines that repeat an earlier one.
    pub duplicate: u64,
    /// Of these, lines that matter.
    pub relevant_duplicate: u64,
    /// Lines that matter by event name, repeated ones included.
    pub relevant_by_name: BTreeMap<String, u64>,
    /// What is true of its sessions.
    pub sessions: SessionTruth,
}

/// What is true of a stream's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SessionTruth {
    /// Distinct sessions.
    pub seen: u64,
    /// Sessions that started and did not end.
    pub open: u64,
    /// Sessions with a forbidden document or a target that is no node.
    pub violating: u64,
    /// Distinct sessions by document, the default one included.
    pub by_document: BTreeMap<String, u64>,
}

/// Writes a stream line by line.
pub struct Stream {
    setting: Setting,
    left: Plan,
    dice: Dice,
    /// Apart from the others, so that envelopes hold the same records as the other formats.
    envelope_dice: Dice,
    truth: Truth,
    casting: Casting,
    next_session: u32,
    /// Sessions that live on to the end of the stream.
    staying: Vec<SessionNumber>,
    /// Sessions that will be terminated.
    leaving: Vec<SessionNumber>,
    lines: u64,
    recent: Recent,
    recent_background: Recent,
    delayed: BinaryHeap<Reverse<(u64, u64, String)>>,
    bare: String,
    line: String,
    /// The event name of the line being written, where it matters.
    name: &'static str,
    request: String,
    response: String,
}

enum Kind {
    Start,
    End,
    Resume,
    Tampering,
    Background,
    RelevantDuplicate,
    BackgroundDuplicate,
}

/// The latest lines of a kind, for repetition.
#[derive(Default)]
struct Recent {
    lines: Vec<(&'static str, String)>,
    next: usize,
}

impl Recent {
    fn keep(&mut self, name: &'static str, line: &str) {
        if self.lines.len() < RECENT_MAX {
            self.lines.push((name, line.to_owned()));
            return;
        }
        let (old_name, old_line) = &mut self.lines[self.next];
        *old_name = name;
        old_line.clear();
        old_line.push_str(line);
        self.next = (self.next + 1) % RECENT_MAX;
    }
}

impl Stream {
    /// A stream of this plan. At most [`SESSIONS_MAX`](crate::casting::SESSIONS_MAX) sessions are told apart.
    pub fn new(plan: Plan, setting: Setting) -> Self {
        let accounts = setting.world().accounts().iter().filter(|account| account.ordinary()).cloned().collect();
        Self {
            casting: Casting::new(accounts, setting.seed),
            dice: Dice::new(setting.seed ^ 0x6c6f_6164_7465_7374),
            envelope_dice: Dice::new(setting.seed ^ 0x656e_7665_6c6f_7065),
            setting,
            left: plan,
            truth: Truth::default(),
            next_session: 0,
            staying: Vec::new(),
            leaving: Vec::new(),
            lines: 0,
            recent: Recent::default(),
            recent_background: Recent::default(),
            delayed: BinaryHeap::new(),
            bare: String::new(),
            line: String::new(),
            name: "",
            request: String::new(),
            response: String::new(),
        }
    }

    /// Hands every line to `each`, without an end of line, and tells what is true of them all.
    ///
    /// # Errors
    /// What `each` returns; the stream stops there.
    pub fn write(mut self, mut each: impl FnMut(&str) -> io::Result<()>) -> io::Result<Truth> {
        while let Some(kind) = self.draw() {
            self.line.clear();
            self.compose(&kind);
            while let Some(line) = self.due() {
                each(&line)?;
            }
            if self.dice.chance(self.setting.disorder) {
                let due = self.lines + 1 + self.dice.below(PLACES_MAX);
                self.delayed.push(Reverse((due, self.lines, self.line.clone())));
            } else {
                each(&self.line)?;
            }
            self.lines += 1;
        }
        while let Some(Reverse((_, _, line))) = self.delayed.pop() {
            each(&line)?;
        }
        self.truth.sessions.seen = u64::from(self.next_session);
        self.truth.sessions.open = (self.staying.len() + self.leaving.len()) as u64;
        self.truth.events = self.lines;
        Ok(self.truth)
    }

    /// The kind of the next line, in proportion to what is left of each; `None` when nothing is.
    fn draw(&mut self) -> Option<Kind> {
        let left = &self.left;
        let live = self.staying.len() + self.leaving.len();
        // Whoever resumes needs a session that lives, so the last one is not ended before the last resume.
        let may_end = !self.leaving.is_empty() && (live > 1 || left.resumes == 0 || left.starts > 0);
        let choices = [
            (Kind::Start, left.starts, true),
            (Kind::End, left.ends, may_end),
            (Kind::Resume, left.resumes, live > 0),
            (Kind::Tampering, left.tampering, true),
            (Kind::Background, left.background, true),
            (Kind::RelevantDuplicate, left.relevant_duplicates, !self.recent.lines.is_empty()),
            (Kind::BackgroundDuplicate, left.background_duplicates, !self.recent_background.lines.is_empty()),
        ];
        let total = choices.iter().filter(|(_, _, possible)| *possible).map(|(_, weight, _)| weight).sum();
        let mut at = self.dice.below(total);
        for (kind, weight, _) in choices.into_iter().filter(|(_, _, possible)| *possible) {
            if at < weight {
                return Some(kind);
            }
            at -= weight;
        }
        None
    }

    fn compose(&mut self, kind: &Kind) {
        match kind {
            Kind::Start => {
                self.start();
                self.left.starts -= 1;
            }
            Kind::End => {
                let at = self.dice.below(self.leaving.len() as u64) as usize;
                let session = self.leaving.swap_remove(at);
                self.session_call("TerminateSession", session);
                self.left.ends -= 1;
            }
            Kind::Resume => {
                let at = self.dice.below((self.staying.len() + self.leaving.len()) as u64) as usize;
                let session = self.staying.get(at).copied().unwrap_or_else(|| self.leaving[at - self.staying.len()]);
                self.session_call("ResumeSession", session);
                self.left.resumes -= 1;
            }
            Kind::Tampering => {
                self.template(true);
                self.left.tampering -= 1;
            }
            Kind::Background => {
                self.template(false);
                self.left.background -= 1;
                return self.recent_background.keep("", &self.line);
            }
            Kind::RelevantDuplicate => {
                self.repeat(true);
                self.left.relevant_duplicates -= 1;
                return;
            }
            Kind::BackgroundDuplicate => {
                self.repeat(false);
                self.left.background_duplicates -= 1;
                return;
            }
        }
        self.recent.keep(self.name, &self.line);
    }

    fn start(&mut self) {
        let violating = self.dice.below(self.left.starts) < self.left.violating;
        let leaves = self.dice.below(self.left.starts) < self.left.ends - self.leaving.len() as u64;
        self.left.violating -= u64::from(violating);
        self.truth.sessions.violating += u64::from(violating);
        let session = SessionNumber::new(self.next_session, violating);
        self.next_session += 1;
        if leaves { &mut self.leaving } else { &mut self.staying }.push(session);

        let role = self.casting.role(session);
        let document = role.document.unwrap_or(DEFAULT_DOCUMENT);
        let reason = role.reason.then_some("OPS-1841 look into slow queries");
        self.request.clear();
        match role.shared_by {
            Some(owner) => {
                let arn = format!("arn:aws:ssm:{}:{owner}:document/{document}", role.node.region);
                push_start_request(&mut self.request, &role.node.id, Some(&arn), reason);
            }
            None => push_start_request(&mut self.request, &role.node.id, role.document, reason),
        }
        *self.truth.sessions.by_document.entry(document.to_owned()).or_default() += 1;
        self.session_call("StartSession", session);
    }

    fn session_call(&mut self, name: &'static str, session: SessionNumber) {
        let role = self.casting.role(session);
        if name != "StartSession" {
            self.request.clear();
            push_session_id(&mut self.request, &role.id);
        }
        self.response.clear();
        if name == "TerminateSession" {
            push_session_id(&mut self.response, &role.id);
        } else {
            push_session_response(&mut self.response, &role.id, &role.node.region, &mut self.dice);
        }
        let record = Record {
            caller: role.caller,
            time: now(self.lines, &self.setting),
            source: "ssm",
            name,
            region: &role.node.region,
            request: &self.request,
            response: &self.response,
            extra: "",
            error: None,
            read_only: false,
            data_event: false,
        };
        self.bare.clear();
        record.write(&mut self.dice, &mut self.bare);
        let (account, region, time) = (role.caller.account, Arc::clone(&role.node.region), record.time);
        self.wrap("ssm", account, &region, time);
        self.count(name);
    }

    fn template(&mut self, relevant: bool) {
        let account = self.dice.below(self.casting.accounts.len() as u64) as usize;
        let account = &self.casting.accounts[account];
        let machines = account.nodes.len() as u64 - 1;
        let node = &account.nodes[self.dice.below(machines) as usize];
        let caller = &account.users[self.dice.below(account.users.len() as u64) as usize];
        let time = now(self.lines, &self.setting);
        let scene = Scene { caller, region: &node.region, node: &node.id, role: &node.role, time };
        let template = if relevant {
            &catalogue::CALLS[self.dice.below(catalogue::CALLS.len() as u64) as usize]
        } else {
            background::pick(&mut self.dice)
        };
        self.bare.clear();
        template.write(&scene, &mut self.dice, &mut self.bare);
        let (account, region) = (account.id, Arc::clone(&node.region));
        self.wrap(template.source, account, template.region(&region), time);
        if relevant {
            self.count(template.name);
        }
    }

    /// Makes the line from the bare record.
    fn wrap(&mut self, source: &str, account: AccountId, region: &str, time: EventTime) {
        if !self.setting.envelopes {
            return std::mem::swap(&mut self.line, &mut self.bare);
        }
        let bare = &self.bare;
        write_envelope(source, account, region, time, &mut self.envelope_dice, &mut self.line, |_, out| {
            out.push_str(bare);
        });
    }

    fn repeat(&mut self, relevant: bool) {
        let recent = if relevant { &self.recent } else { &self.recent_background };
        let (name, line) = &recent.lines[self.dice.below(recent.lines.len() as u64) as usize];
        self.line.push_str(line);
        self.truth.duplicate += 1;
        if relevant {
            self.truth.relevant_duplicate += 1;
            let name = *name;
            self.count(name);
        }
    }

    fn count(&mut self, name: &'static str) {
        self.name = name;
        self.truth.relevant += 1;
        match self.truth.relevant_by_name.get_mut(name) {
            Some(count) => *count += 1,
            None => {
                self.truth.relevant_by_name.insert(name.to_owned(), 1);
            }
        }
    }

    fn due(&mut self) -> Option<String> {
        let Reverse((due, ..)) = self.delayed.peek()?;
        if *due > self.lines {
            return None;
        }
        self.delayed.pop().map(|Reverse((_, _, line))| line)
    }
}

fn now(lines: u64, setting: &Setting) -> EventTime {
    START.plus_ms((lines * 1000 / setting.events_per_second.max(1)) as i64)
}
