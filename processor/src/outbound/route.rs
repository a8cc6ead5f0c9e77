//! Which messages go where: a name, a destination, and what is let through. Nothing here does anything.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

use sessionwarden_machine::{effect::Severity, ids::AccountId, settings::matches};

use super::{DeskLimits, Message};

/// One way to somebody who wants to be told. A filter that is empty lets everything through; all must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The name, in the configuration, logs, metrics and dead letters.
    pub name: Arc<str>,
    /// Where messages go.
    pub to: Destination,
    /// The least severity. Default: info, which is all.
    pub severity_min: Severity,
    /// The accounts.
    pub accounts: BTreeSet<AccountId>,
    /// The organisational units of the accounts, with `*` for any characters. An account without a unit has an empty one.
    pub units: Vec<Arc<str>>,
    /// The controls, with `*` for any characters; see [`Message::controls`].
    pub controls: Vec<Arc<str>>,
    /// The kinds.
    pub kinds: BTreeSet<Kind>,
    /// How many leave at once, and when a digest does.
    pub limits: DeskLimits,
    /// How often a message is tried before it becomes a dead letter, at least 1. Default: [`TRIES_MAX`].
    pub tries_max: u32,
}

/// How often a message is tried where the configuration says nothing.
pub const TRIES_MAX: u32 = 10;

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A topic of Amazon SNS, by its ARN, in which `{account}` and `{region}` stand for those of the message.
    Sns {
        /// The ARN.
        topic: String,
    },
    /// An event bus of Amazon EventBridge.
    EventBridge {
        /// Its name or ARN.
        bus: String,
    },
    /// Somebody who takes signed JSON over HTTP.
    Webhook {
        /// Where to. `https`, or `http` on this machine.
        url: String,
        /// Where the key of the signature is.
        secret: SecretRef,
    },
    /// A file of JSON lines.
    File {
        /// Where it is.
        path: PathBuf,
    },
}

/// Where a secret is. The secret itself is in no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretRef {
    /// In the environment variable of this name.
    Environment(String),
    /// In this file.
    File(PathBuf),
}

impl std::fmt::Display for SecretRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

/// What a message can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A violated control.
    Finding,
    /// Something a person has to look at.
    Incident,
    /// Something that was done, or was to be done.
    Remedy,
}

impl Kind {
    /// The name in messages and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finding => "finding",
            Self::Incident => "incident",
            Self::Remedy => "remedy",
        }
    }
}

impl Route {
    /// A route that lets everything through.
    pub fn new(name: impl Into<Arc<str>>, to: Destination) -> Self {
        Self {
            name: name.into(),
            to,
            severity_min: Severity::Info,
            accounts: BTreeSet::new(),
            units: Vec::new(),
            controls: Vec::new(),
            kinds: BTreeSet::new(),
            limits: DeskLimits::default(),
            tries_max: TRIES_MAX,
        }
    }

    /// Whether a message goes this way. `unit` is that of the message's account, where it is known.
    pub fn takes(&self, message: &Message, unit: Option<&str>) -> bool {
        let unit = unit.unwrap_or_default();
        let fits = |patterns: &[Arc<str>], text: &str| patterns.iter().any(|pattern| matches(pattern, text));
        message.severity >= self.severity_min
            && (self.accounts.is_empty() || message.account.is_some_and(|account| self.accounts.contains(&account)))
            && (self.units.is_empty() || fits(&self.units, unit))
            && (self.controls.is_empty() || message.controls().any(|control| fits(&self.controls, control)))
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind.as_str() == message.kind))
    }
}

#[cfg(test)]
mod tests {
    use sessionwarden_machine::ids::EffectId;

    use super::*;

    fn message(severity: Severity, account: u64, control: &str, kind: &'static str) -> Message {
        Message {
            id: EffectId("finding/1".into()),
            subject: "s".into(),
            body: "b".into(),
            object: serde_json::Value::Null,
            kind,
            severity,
            control: control.into(),
            causes: Vec::new(),
            account: AccountId::new(account),
            region: "eu-west-1".into(),
        }
    }

    fn all() -> Route {
        Route::new("all", Destination::File { path: "told.jsonl".into() })
    }

    fn texts(texts: &[&str]) -> Vec<Arc<str>> {
        texts.iter().map(|text| Arc::from(*text)).collect()
    }

    #[test]
    fn each_filter_lets_through_what_it_names() {
        let accounts = |numbers: &[u64]| numbers.iter().filter_map(|number| AccountId::new(*number)).collect();
        let kinds = |kinds: &[Kind]| kinds.iter().copied().collect();
        let high = message(Severity::High, 1, "SW-DOC-02", "finding");
        let low = message(Severity::Low, 1, "SW-DOC-02", "finding");
        let incident = message(Severity::High, 2, "log-missing", "incident");
        for (name, route, [high_goes, low_goes, incident_goes]) in [
            ("everything", all(), [true, true, true]),
            ("severity", Route { severity_min: Severity::High, ..all() }, [true, false, true]),
            ("worse than all", Route { severity_min: Severity::Critical, ..all() }, [false, false, false]),
            ("account", Route { accounts: accounts(&[2, 3]), ..all() }, [false, false, true]),
            ("unit", Route { units: texts(&["prod"]), ..all() }, [true, true, false]),
            ("unit by pattern", Route { units: texts(&["x", "pr*"]), ..all() }, [true, true, false]),
            ("any unit, known or not", Route { units: texts(&["*"]), ..all() }, [true, true, true]),
            ("control", Route { controls: texts(&["SW-DOC-*"]), ..all() }, [true, true, false]),
            ("cause", Route { controls: texts(&["SW-ROLE-01", "log-missing"]), ..all() }, [false, false, true]),
            ("kind", Route { kinds: kinds(&[Kind::Finding]), ..all() }, [true, true, false]),
            ("kinds", Route { kinds: kinds(&[Kind::Incident, Kind::Remedy]), ..all() }, [false, false, true]),
            (
                "all filters hold",
                Route { severity_min: Severity::High, units: texts(&["prod"]), controls: texts(&["*-02"]), ..all() },
                [true, false, false],
            ),
        ] {
            assert_eq!(route.takes(&high, Some("prod")), high_goes, "{name}: high");
            assert_eq!(route.takes(&low, Some("prod")), low_goes, "{name}: low");
            assert_eq!(route.takes(&incident, None), incident_goes, "{name}: incident");
        }
    }

    #[test]
    fn a_remedy_goes_by_the_controls_that_caused_it() {
        let route = Route { controls: texts(&["SW-DOC-*"]), ..all() };
        let mut ended = message(Severity::Info, 1, "terminate", "remedy");
        assert!(!route.takes(&ended, None));
        ended.causes = texts(&["SW-ROLE-01", "SW-DOC-02"]);
        assert!(route.takes(&ended, None));
        assert!(Route { controls: texts(&["terminate"]), ..all() }.takes(&ended, None));
    }

    #[test]
    fn a_reference_shows_where_and_not_what() {
        assert_eq!(SecretRef::Environment("PAGER_KEY".into()).to_string(), "env:PAGER_KEY");
        assert_eq!(SecretRef::File("/run/secrets/pager".into()).to_string(), "file:/run/secrets/pager");
    }
}
